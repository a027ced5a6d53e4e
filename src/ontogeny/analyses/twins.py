"""Is it the words that were learned, or what they say? Originals beside their twins."""

from dataclasses import dataclass
from typing import Any, ClassVar, NotRequired, TypedDict

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import places, roles_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.core.errors import StoreError
from ontogeny.core.passages import document_of
from ontogeny.statistics.documents import means_by_document
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.two_samples import group_difference, ratio_of_differences

LEAST = 5
"""Documents on each side."""
LEAST_CHECKPOINTS = 2


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


class Curve(TypedDict):
    """A number with its 95% interval at each checkpoint, float64 [C] each."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Carried(TypedDict):
    """What training on a probe set carried over to its twins."""

    by: str
    """How the twins were made."""
    step: np.ndarray
    epoch: np.ndarray
    n: tuple[int, int]
    """Documents, trained and novel."""
    says: str
    accuracy: list[float]
    """Of originals and twins, at the last checkpoint."""
    why: NotRequired[str]
    """Why it is not assessable."""
    gain: NotRequired[dict[str, Curve]]
    """Of `original` and `twin`, nats."""
    carried: NotRequired[Curve]
    """The twins' gain over the originals'; NaN where the originals' gain is not significant."""


class TwinsAnalysis(Analysis):
    """What training gained on the passages, beside what it gained on their twins.

    A gain is the fall of the mean NLL (nats) since the checkpoint before training, of trained text beyond that of novel
    text in the same form, with Welch's interval over documents; so what the model learned of such text in general is in
    neither. `carried` is the twins' gain divided by the originals' (0: only these words were learned; 1: the other form
    gained as much), at the last checkpoint and over the checkpoints, with Fieller's 95% interval over documents, each
    with its twin (`two_samples.ratio_of_differences`). Not assessable where the originals gained nothing: a quotient by
    it means nothing. Documents whose loss is no number at some checkpoint are left out.
    """

    order: ClassVar[float] = 40

    literal: float = Field(default=0.5, gt=0, le=1)
    """Learning is called word for word if significantly less than this share is carried over."""

    def analyze(self, run: RecordedRun) -> Result:
        """Compare every set of twins of trained passages that has one of novel passages made the same way."""
        trained, novel = pairs_of(run)
        return self.compare(trained, novel)

    def compare(self, trained: list[Pairs], novel: dict[str, Pairs]) -> Result:
        """The same, from pairs; `novel` by the way in which twins are made."""
        rows = {pairs.name: self._compare(pairs, novel[pairs.by]) for pairs in trained if pairs.by in novel}
        assessable = {name: row for name, row in rows.items() if row["says"] != "not assessable"}
        shown = assessable or rows
        verdict = "; ".join(f"{name} ({row['by']}): {_says(row)}" for name, row in shown.items())
        return Result(
            verdict=verdict or "not assessable: lacks twins of novel passages to compare with: add them to data.twins",
            sentences=tuple(map(_sentence, rows, rows.values())),
            reading=_READING,
            numbers={"sets": rows},
        )

    def _compare(self, trained: Pairs, novel: Pairs) -> Carried:
        steps, left, right = np.intersect1d(trained.step, novel.step, return_indices=True)
        nll, all_trained = _numbers(trained.nll, left)
        novel_nll, all_novel = _numbers(novel.nll, right)
        sizes = nll.shape[2], novel_nll.shape[2]
        row: Carried = {
            "by": trained.by,
            "step": steps,
            "epoch": trained.epoch[left],
            "n": sizes,
            "says": "not assessable",
            "accuracy": [float(form[-1].mean()) for form in trained.accuracy],
        }
        if min(sizes) < LEAST or len(steps) < LEAST_CHECKPOINTS:
            row["why"] = f"lacks {_lack(sizes, (all_trained, all_novel), len(steps))}"
            return row
        fall, novel_fall = nll[:, :1] - nll, novel_nll[:, :1] - novel_nll  # since before training
        row["gain"] = {form: _gain(fall[i], novel_fall[i]) for i, form in enumerate(("original", "twin"))}
        low = row["gain"]["original"]["low"]
        if low[-1] <= 0:
            row["why"] = "no more was learned of the trained passages than of novel ones"
            return row
        row["carried"] = carried = _carried(fall, novel_fall, sure=low > 0)
        if np.isnan(carried["low"][-1]):
            del row["carried"]
            row["why"] = "what was learned is too uncertain to divide by: take the probe sets from more documents"
            return row
        row["says"] = self._word(carried["low"][-1], carried["high"][-1])
        return row

    def _word(self, low: float, high: float) -> str:
        """What an interval of the share carried over says."""
        if high < self.literal:
            return "word for word" if low <= 0 else "mostly word for word"
        return "also in the other form" if low > 0 else "undecided"


def _numbers(forms: tuple[np.ndarray, np.ndarray], checkpoints: np.ndarray) -> tuple[np.ndarray, int]:
    """NLL [form, checkpoint, documents] of the documents in which all are numbers, and how many there are in all."""
    nll = np.stack([form[checkpoints] for form in forms])
    return nll[..., np.isfinite(nll).all(axis=(0, 1))], nll.shape[2]


def _lack(sizes: tuple[int, int], documents: tuple[int, int], checkpoints: int) -> str:
    """What is too little, ready to print: trained and novel documents with a loss, all of them, and checkpoints."""
    if checkpoints < LEAST_CHECKPOINTS:
        return shortage(LEAST_CHECKPOINTS, "checkpoint", checkpoints, f"measure at {LEAST_CHECKPOINTS} or more")
    which, there = ("trained", documents[0]) if sizes[0] < LEAST else ("novel", documents[1])
    if there >= LEAST:
        remedy, where = "look at what made the others' none", "with a loss that is a number at every checkpoint"
        return shortage(LEAST, f"{which} document", min(sizes), remedy, where)
    return shortage(LEAST, f"{which} document", min(sizes), f"take twins of more {which} documents (data.twins)")


def _gain(fall: np.ndarray, novel_fall: np.ndarray) -> Curve:
    """How much more trained text fell than novel text, [C, documents] each, with Welch's interval."""
    gains = [group_difference(trained, novel) for trained, novel in zip(fall, novel_fall, strict=True)]
    value, low, high = np.array([(gain.value, gain.low, gain.high) for gain in gains]).T
    return {"value": value, "low": low, "high": high}


def _carried(fall: np.ndarray, novel_fall: np.ndarray, sure: np.ndarray) -> Curve:
    """The twins' gain over the originals' at each checkpoint where that of the originals is `sure`, else NaN.

    Falls [form, checkpoint, documents], originals first.
    """
    nan = np.full(3, np.nan)
    value, low, high = np.array(
        [
            list(ratio_of_differences(fall[::-1, i], novel_fall[::-1, i]).values()) if known else nan
            for i, known in enumerate(sure)
        ]
    ).T
    return {"value": value, "low": low, "high": high}


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
    reproduction = run.measure("reproduction")
    originals = str(twins["of"])
    if not {name, originals} <= set(map(str, reproduction.probe_of_passage.values)):
        raise StoreError(f"{run.path}: reproduction looked only at some probe sets: it needs {originals} and {name}")
    passages = run.probes[name].passages
    corpus = str(passages[0].source).partition(":")[0]
    at = [places(reproduction, [(probe, i) for i in range(len(passages))]) for probe in (originals, name)]
    kept = np.isfinite(reproduction["nll"].values[0][at]).all(axis=0)
    _, document = np.unique([document_of(passage.source) for passage in passages], return_inverse=True)

    def forms(variable: str) -> tuple[np.ndarray, np.ndarray]:
        values = reproduction[variable].values.astype(np.float64)
        original, twin = (means_by_document(values[:, rows[kept]], document[kept]) for rows in at)
        return original, twin

    return Pairs(
        name=name,
        by=f"{corpus}, {twins['by']}",
        step=reproduction.step.values,
        epoch=reproduction.epoch.values.astype(np.float64),
        nll=forms("nll"),
        accuracy=forms("accuracy"),
    )


def _says(row: Carried) -> str:
    return f"{row['says']}: {row['why']}" if "why" in row else row["says"]


def _sentence(name: str, row: Carried) -> str:
    if "carried" not in row:
        return f"{name} ({row['by']}): {_says(row)}"
    gains = ", ".join(
        f"{form} {gain['value'][-1]:+.2f} nats (95% {gain['low'][-1]:+.2f} to {gain['high'][-1]:+.2f})"
        for form, gain in row["gain"].items()
    )
    carried = row["carried"]
    value, low, high = carried["value"][-1], carried["low"][-1], carried["high"][-1]
    return (
        f"{name} ({row['by']}): {row['says']}. Gained beyond novel text: {gains}; carried over {value:.0%} (95% "
        f"{low:.0%} to {high:.0%}); accuracy {row['accuracy'][0]:.2f} and {row['accuracy'][1]:.2f}; n = {row['n'][0]} "
        f"trained and {row['n'][1]} novel documents"
    )


_READING = (
    "A twin made by exchanging words is unusual text, and keeps most short word sequences: what is carried over to it "
    "bounds learning of what is said from above only. A reworded twin keeps what is said and few of the words."
)
