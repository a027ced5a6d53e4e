"""Is it the words that were learned, or what they say? Originals beside their twins."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import places, roles_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.core.errors import StoreError
from ontogeny.core.passages import document_of
from ontogeny.statistics import by_document as stats

LEAST = 5
"""Documents on each side."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Passages beside their twins at C checkpoints; originals and twins in the same order, by document."""

    name: str
    by: str
    step: np.ndarray
    """int64 [C]"""
    epoch: np.ndarray
    """float64 [C]"""
    nll: tuple[np.ndarray, np.ndarray]
    """Originals' and twins' mean NLL in nats, float64 [C, documents] each."""
    accuracy: tuple[np.ndarray, np.ndarray]
    """Share of positions reproduced, float64 [C, documents] each."""


class Twins(Analysis):
    """What training gained on the passages, beside what it gained on their twins.

    A gain is the fall of the mean NLL (nats) since the checkpoint before training, of trained text beyond that of novel
    text in the same form; so what the model learned of such text in general is in neither. `carried` is the twins' gain
    divided by the originals' (0: only these words were learned; 1: the other form gained as much), at the last
    checkpoint and over the checkpoints, with a 95% percentile bootstrap over documents, trained and novel apart, a
    document drawn with its twin. Not assessable where the originals gained nothing: a quotient by it means nothing.
    """

    literal: float = Field(default=0.5, gt=0, le=1)
    """Learning is called word for word where surely less than this is carried over."""

    def analyze(self, run: RecordedRun) -> Result:
        """Compare every set of twins of trained passages that has one of novel passages made the same way."""
        trained, novel = pairs_of(run)
        return self.compare(trained, novel)

    def compare(self, trained: list[Pairs], novel: dict[str, Pairs]) -> Result:
        """The same, from pairs; `novel` by the way in which twins are made."""
        random = np.random.default_rng(self.seed)
        rows = {one.name: self._compare(one, novel[one.by], random) for one in trained if one.by in novel}
        known = {name: one for name, one in rows.items() if one["says"] != "not assessable"}
        verdict = (
            "; ".join(f"{name} ({one['by']}): {one['says']}" for name, one in (known or rows).items())
            or "not assessable: no twins of novel passages to compare with"
        )
        return Result(
            verdict=verdict,
            sentences=tuple(map(_sentence, rows, rows.values())),
            reading=_READING,
            numbers={"sets": rows},
        )

    def _compare(self, trained: Pairs, novel: Pairs, random: np.random.Generator) -> dict[str, Any]:
        steps, left, right = np.intersect1d(trained.step, novel.step, return_indices=True)
        mine = np.stack([one[left] for one in trained.nll])
        other = np.stack([one[right] for one in novel.nll])
        sizes = mine.shape[2], other.shape[2]
        row: dict[str, Any] = {
            "by": trained.by,
            "step": steps,
            "epoch": trained.epoch[left],
            "n": sizes,
            "says": "not assessable",
        }
        row["accuracy"] = [float(one[-1].mean()) for one in trained.accuracy]
        if min(sizes) < LEAST or len(steps) < 2:
            return row | {"why": f"{min(sizes)} documents and {len(steps)} checkpoints: {LEAST} and 2 are needed"}
        mine, other = mine[:, :1] - mine, other[:, :1] - other  # falls since before training
        gain = mine.mean(axis=2) - other.mean(axis=2)
        draws = [_drawn(values, random) for values in (mine, other)]
        drawn = draws[0] - draws[1]  # [draws, form, checkpoint]
        row["gain"] = {
            name: {
                "value": gain[i],
                "low": np.quantile(drawn[:, i], 0.025, axis=0),
                "high": np.quantile(drawn[:, i], 0.975, axis=0),
            }
            for i, name in enumerate(("original", "twin"))
        }
        if row["gain"]["original"]["low"][-1] <= 0:
            return row | {"why": "no more was learned of the trained passages than of novel ones"}
        sure = row["gain"]["original"]["low"] > 0
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # before training, all gains are 0
            quotient = drawn[:, 1] / np.where(drawn[:, 0] > 0, drawn[:, 0], np.nan)
            carried = {
                "value": gain[1] / gain[0],
                "low": np.nanquantile(quotient, 0.025, axis=0),
                "high": np.nanquantile(quotient, 0.975, axis=0),
            }
        carried = {key: np.where(sure, values, np.nan) for key, values in carried.items()}
        row["carried"] = carried
        low, high = carried["low"][-1], carried["high"][-1]
        if high < self.literal:
            row["says"] = "word for word" if low <= 0 else "mostly word for word"
        elif low > 0:
            row["says"] = "also in the other form"
        else:
            row["says"] = "undecided"
        return row


def _drawn(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Bootstrap means [draws, form, checkpoint] of [form, checkpoint, documents], documents drawn whole."""
    n = values.shape[2]
    weight = random.multinomial(n, np.full(n, 1 / n), stats.DRAWS) / n
    drawn: np.ndarray = np.moveaxis(values @ weight.T, 2, 0)
    return drawn


def pairs_of(run: RecordedRun) -> tuple[list[Pairs], dict[str, Pairs]]:
    """The twins of trained passages, and of novel ones by how they are made. Raises StoreError if there are none."""
    declared = (run.recipe.get("data") or {}).get("twins") or {}
    if not declared:
        raise StoreError(
            f"{run.path} has no twins: add train_swapped: {{of: train}} and novel_swapped: {{of: novel}} to data.twins"
        )
    if "reproduction" not in run.measures:
        raise StoreError(f"{run.path} has no measure 'reproduction': add it to the recipe")
    roles = roles_of(run)
    trained: list[Pairs] = []
    novel: dict[str, Pairs] = {}
    for name, twins in declared.items():
        if twins["of"] not in roles:
            continue
        pairs = _pairs(run, name, twins)
        if roles[twins["of"]]:
            trained.append(pairs)
        else:
            novel[pairs.by] = pairs
    return trained, novel


def _pairs(run: RecordedRun, name: str, twins: dict[str, Any]) -> Pairs:
    written = run.measure("reproduction")
    if not {name, twins["of"]} <= set(map(str, written.probe_of_passage.values)):
        raise StoreError(f"{run.path}: reproduction looked only at some probe sets: it needs {twins['of']} and {name}")
    passages = run.probes[name].passages
    corpus = str(passages[0].source).partition(":")[0]
    at = [places(written, [(of, i) for i in range(len(passages))]) for of in (twins["of"], name)]
    kept = np.isfinite(written["nll"].values[0][at]).all(axis=0)
    _, document = np.unique([document_of(one.source) for one in passages], return_inverse=True)

    def forms(variable: str) -> tuple[np.ndarray, np.ndarray]:
        values = written[variable].values.astype(np.float64)
        original, twin = (stats.by_document(values[:, one[kept]], document[kept]) for one in at)
        return original, twin

    return Pairs(
        name=name,
        by=f"{corpus}, {twins['by']}",
        step=written.step.values,
        epoch=written.epoch.values.astype(np.float64),
        nll=forms("nll"),
        accuracy=forms("accuracy"),
    )


def _sentence(name: str, one: dict[str, Any]) -> str:
    if "carried" not in one:
        return f"{name} ({one['by']}): {one['says']}: {one['why']}"
    gains = {form: (found["value"][-1], found["low"][-1], found["high"][-1]) for form, found in one["gain"].items()}
    said = ", ".join(f"{form} {v:+.2f} nats (95% {a:+.2f} to {b:+.2f})" for form, (v, a, b) in gains.items())
    value, low, high = (one["carried"][key][-1] for key in ("value", "low", "high"))
    return (
        f"{name} ({one['by']}): {one['says']}. Gained beyond novel text: {said}; carried over {value:.0%} (95% "
        f"{low:.0%} to {high:.0%}); accuracy {one['accuracy'][0]:.2f} and {one['accuracy'][1]:.2f}; n = {one['n'][0]} "
        f"trained and {one['n'][1]} novel documents"
    )


_READING = (
    "A twin made by exchanging words is unusual text, and keeps most short word sequences: what is carried over to it "
    "bounds learning of what is said from above only. A reworded twin keeps what is said and few of the words."
)
