"""Numbers of single items (passages, last words, endings) at checkpoints, gathered by document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ontogeny.analyses.recorded.passages import roles_of
from ontogeny.core.passages import document_of

if TYPE_CHECKING:
    import xarray as xr

Role = Literal["trained", "held out", "general"]
"""Trained on; other text of the same corpora; text of other corpora."""
LOWER_IS_BETTER = frozenset({"brier_score", "mse"})
"""Metrics of the harness; of its perplexities, the items hold log-likelihoods."""


@dataclass(frozen=True, kw_only=True)
class Items:
    """One number of a probe set at C checkpoints, as sums over the items of each of D documents."""

    probe: str
    role: Role
    what: str
    """Which number: loss, last word, accuracy of last words …"""
    unit: str
    worse: Literal[1, -1]
    """1: higher is worse, as of a loss; -1: lower is worse, as of an accuracy."""
    step: np.ndarray
    """int64 [C]"""
    total: np.ndarray
    """float64 [C, D]: sum over the items of a document."""
    weight: np.ndarray
    """float64 [D]: what the number is a mean per: tokens or items of the document."""
    items: int
    """How many passages, words or endings; 0 where only the set's mean is known."""

    @property
    def name(self) -> str:
        """Probe set and number."""
        return f"{self.probe}: {self.what}"

    @property
    def documents(self) -> int:
        """How many; a set of which only the mean is known counts as one."""
        return len(self.weight)

    @property
    def mean(self) -> np.ndarray:
        """float64 [C]"""
        return np.asarray(self.total.sum(axis=1) / self.weight.sum())


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The passages on a measure's flat token axis, in order; arrays [P]."""

    probe: np.ndarray
    """str: the probe set's name."""
    passage: np.ndarray
    """int64: the passage's id in its set."""
    starts: np.ndarray
    """int64: its first place on the token axis."""
    lengths: np.ndarray
    """int64: its tokens."""

    @classmethod
    def of(cls, data: "xr.Dataset") -> "Segments":
        """Where a new passage or probe set begins, there a segment does."""
        probe = data["probe_of_token"].to_numpy().astype(str)
        passage = data["passage"].to_numpy().astype(np.int64)
        new = np.ones(len(passage), dtype=bool)
        new[1:] = (passage[1:] != passage[:-1]) | (probe[1:] != probe[:-1])
        starts = np.flatnonzero(new)
        return cls(
            probe=probe[starts], passage=passage[starts], starts=starts, lengths=np.diff([*starts, len(passage)])
        )


def role_of(run: Any, probe: str) -> Role:
    """What a probe set is to the training of a run."""
    trained = roles_of(run).get(probe)
    return "general" if trained is None else "trained" if trained else "held out"


def losses_of(run: Any) -> list[Items]:
    """The loss of each probe set but twins: by document where `token_nll` looked, else its mean from `evaluation`."""
    return list(_losses(run)) or list(_mean_losses(run))


def tasks_of(run: Any) -> list[Items]:
    """`cloze` and `continuation` of each probe set, as far as they were recorded."""
    found: list[Items] = []
    if (cloze := of_kind(run, "cloze")) is not None:
        nll, hit = (cloze[name].values.astype(np.float64) for name in ("nll_nats", "correct"))
        found += _of_items(run, cloze, nll, "loss of last words", "nats per word", 1)
        found += _of_items(run, cloze, hit, "accuracy of last words", "share", -1)
    if (endings := of_kind(run, "continuation")) is not None:
        nll = endings["nll_nats"].values.astype(np.float64)
        best = nll == nll.min(axis=2, keepdims=True)
        found += _of_items(run, endings, best[..., 0] / best.sum(axis=2), "acc of continuations", "share", -1)
        if "credit_per_byte" in endings:
            values = endings["credit_per_byte"].values.astype(np.float64)
            found += _of_items(run, endings, values, "acc_norm of continuations", "share", -1)
    return found


def harness_of(run: Any) -> list[Items]:
    """Tasks of the evaluation harness, each item counted as a document of its own."""
    data = of_kind(run, "lm_eval")
    if data is None:
        return []
    tasks, metrics = (data[f"{name}_of_item"].values.astype(str) for name in ("task", "metric"))
    found = []
    for task, metric in dict.fromkeys(zip(tasks, metrics, strict=True)):
        mine = (tasks == task) & (metrics == metric)
        found.append(
            Items(
                probe=str(task),
                role="general",
                what=str(metric),
                unit="as the harness has it",
                worse=1 if metric in LOWER_IS_BETTER else -1,
                step=data.step.values.astype(np.int64),
                total=data["value"].values[:, mine].astype(np.float64),
                weight=np.ones(int(mine.sum())),
                items=int(mine.sum()),
            )
        )
    return found


def of_kind(run: Any, kind: str) -> Any:
    """What the first measure of that kind saw, whatever it is called; None without one, or with a single checkpoint."""
    listed = {str(one.get("name") or one["kind"]): str(one["kind"]) for one in run.recipe.get("measures") or ()}
    for group in sorted(run.measures, key=lambda one: (one != kind, one)):
        data = run.measure(group)
        if data.attrs.get("kind", listed.get(group, group)) == kind and data.sizes.get("checkpoint", 0) > 1:
            return data
    return None


def _looked_at(run: Any, names: np.ndarray) -> list[str]:
    """Probe sets among these that still are the run's and are no twins, in order."""
    twins = (run.recipe.get("data") or {}).get("twins") or {}
    return [name for name in dict.fromkeys(map(str, names)) if name in run.probes and name not in twins]


def _losses(run: Any) -> Iterator[Items]:
    data = of_kind(run, "token_nll")
    if data is None or not data.sizes.get("token", 0):
        return
    segments, counted = Segments.of(data), data["position"].values > 0
    nats = np.empty((data.sizes["checkpoint"], len(segments.starts)))
    for i in range(len(nats)):
        row = data["nll_nats"].isel(checkpoint=i).values.astype(np.float64)
        nats[i] = np.add.reduceat(np.where(counted, row, 0.0), segments.starts)
    tokens = np.add.reduceat(counted.astype(np.float64), segments.starts)
    for probe in _looked_at(run, segments.probe):
        mine = (segments.probe == probe) & (tokens > 0)
        if mine.any():
            yield _gathered(
                run,
                probe,
                data.step.values,
                segments.passage[mine],
                nats[:, mine],
                tokens[mine],
                "loss",
                "nats per token",
                1,
            )


def _mean_losses(run: Any) -> Iterator[Items]:
    data = of_kind(run, "evaluation")
    for i, probe in enumerate(map(str, data["probe"].values) if data is not None else ()):
        if probe in _looked_at(run, data["probe"].values):
            yield Items(
                probe=probe,
                role=role_of(run, probe),
                what="loss",
                unit="nats per token",
                worse=1,
                step=data.step.values.astype(np.int64),
                total=data["nll"].values[:, [i]].astype(np.float64),
                weight=np.ones(1),
                items=0,
            )


def _of_items(run: Any, data: Any, values: np.ndarray, what: str, unit: str, worse: Literal[1, -1]) -> Iterator[Items]:
    """`values` [checkpoints, items]."""
    names, ids = data["probe_of_item"].values.astype(str), data["passage_of_item"].values
    for probe in _looked_at(run, names):
        mine = names == probe
        yield _gathered(
            run, probe, data.step.values, ids[mine], values[:, mine], np.ones(int(mine.sum())), what, unit, worse
        )


def _gathered(
    run: Any,
    probe: str,
    step: np.ndarray,
    passage: np.ndarray,
    values: np.ndarray,
    weight: np.ndarray,
    what: str,
    unit: str,
    worse: Literal[1, -1],
) -> Items:
    passages = run.probes[probe].passages
    sources = [document_of(passages[int(i)].source) for i in passage]
    names, place = np.unique(np.array(sources, dtype=str), return_inverse=True)

    def of_documents(numbers: np.ndarray) -> np.ndarray:  # equal rows give equal sums, which a product may not
        return np.stack([numbers[..., place == i].sum(axis=-1) for i in range(len(names))], axis=-1)

    return Items(
        probe=probe,
        role=role_of(run, probe),
        what=what,
        unit=unit,
        worse=worse,
        step=step.astype(np.int64),
        total=of_documents(values),
        weight=of_documents(weight),
        items=len(passage),
    )
