"""Numbers of single items (passages, last words, endings) at checkpoints, gathered by document."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ontogeny.analyses.recorded.loss_records import PassageLosses, of_evaluation, of_tokens
from ontogeny.analyses.recorded.passages import original_document
from ontogeny.core.analyses import RecordedRun
from ontogeny.statistics.estimates import sample
from ontogeny.store.run_group import roles

if TYPE_CHECKING:
    import xarray as xr

Role = Literal["trained", "held out", "another part", "replayed", "general"]
"""Trained on as new; other text of the same corpora; of a text that is trained on in part, another part; trained on as
replay; other corpora."""
NOT_NEW: tuple[Role, ...] = ("another part", "replayed", "general")
"""Text that may be known from before, and forgotten."""
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
        """D; a set of which only the mean is known counts as one document."""
        return len(self.weight)

    @property
    def basis(self) -> str:
        """What the number rests on, ready to print: 48 passages from 31 documents."""
        if not self.items:
            return "only the mean of the set is known"
        return sample(self.items, "passage" if self.what == _LOSS.what else "item", self.documents)

    @property
    def mean(self) -> np.ndarray:
        """float64 [C]"""
        return np.asarray(self.total.sum(axis=1) / self.weight.sum())


class _Quantity(NamedTuple):
    """Which number an item has: the fields of `Items` that say so."""

    what: str
    unit: str
    worse: Literal[1, -1]


_LOSS = _Quantity("loss", "nats per token", 1)
_LAST_WORD_LOSS = _Quantity("loss of last words", "nats per word", 1)
_LAST_WORD_ACCURACY = _Quantity("accuracy of last words", "share", -1)
_ACC = _Quantity("acc of continuations", "share", -1)
_ACC_NORM = _Quantity("acc_norm of continuations", "share", -1)


def role_of(run: RecordedRun, probe: str) -> Role:
    """What a probe set is to the training of a run."""
    match roles(run)[probe]:
        case "other" | "twins":
            return "general"
        case role:
            return role


def losses_of(run: RecordedRun, *, twins: bool = False) -> list[Items]:
    """The loss of each probe set at two checkpoints or more: by document where it was recorded by passage.

    Of `evaluation` and `token_nll` the one with more checkpoints counts, of equal ones `evaluation`; where neither
    recorded passages, the set's mean. `twins`: those of probe sets, too.
    """
    evaluation = of_kind(run, "evaluation")
    records = _loss_records(evaluation, of_kind(run, "token_nll"))
    means = [] if evaluation is None else [str(name) for name in evaluation["probe"].values]
    by_passage = dict.fromkeys(str(name) for record in records for name in record.probe)
    losses = []
    for probe in _present(run, [*by_passage, *means], twins):
        holding = [record for record in records if record.of(probe).any()]
        if holding:
            losses.append(loss_by_document(run, probe, max(holding, key=lambda record: len(record.steps))))
        elif evaluation is not None and probe not in by_passage:
            losses.append(_mean_loss(run, probe, evaluation.isel(probe=means.index(probe))))
    return losses


def tasks_of(run: RecordedRun) -> list[Items]:
    """What `cloze` and `continuation` recorded of each probe set; empty without them."""
    items: list[Items] = []
    if (cloze := of_kind(run, "cloze")) is not None:
        for name, quantity in (("nll_nats", _LAST_WORD_LOSS), ("correct", _LAST_WORD_ACCURACY)):
            if name in cloze:  # as of an earlier version
                items += _of_items(run, cloze, cloze[name].values.astype(np.float64), quantity)
    if (endings := of_kind(run, "continuation")) is not None:
        nll = endings["nll_nats"].values.astype(np.float64)
        best = nll == nll.min(axis=2, keepdims=True)
        items += _of_items(run, endings, best[..., 0] / best.sum(axis=2), _ACC)  # ties share the credit
        if "credit_per_byte" in endings:
            items += _of_items(run, endings, endings["credit_per_byte"].values.astype(np.float64), _ACC_NORM)
    return items


def harness_of(run: RecordedRun) -> list[Items]:
    """Tasks of the evaluation harness, each item counted as a document of its own."""
    data = of_kind(run, "lm_eval")
    if data is None:
        return []
    tasks, metrics = (data[f"{name}_of_item"].values.astype(str) for name in ("task", "metric"))
    items = []
    for task, metric in dict.fromkeys(zip(tasks, metrics, strict=True)):
        inside = (tasks == task) & (metrics == metric)
        count = int(inside.sum())
        items.append(
            Items(
                probe=str(task),
                role="general",
                what=str(metric),
                unit="as the harness has it",
                worse=1 if metric in LOWER_IS_BETTER else -1,
                step=data.step.values.astype(np.int64),
                total=data["value"].values[:, inside].astype(np.float64),
                weight=np.ones(count),
                items=count,
            )
        )
    return items


def of_kind(run: RecordedRun, kind: str) -> "xr.Dataset | None":
    """What the first measure of that kind recorded, whatever its name; None without two checkpoints of one."""
    listed = {
        str(measure.get("name") or measure["kind"]): str(measure["kind"])
        for measure in run.recipe.get("measures") or ()
    }
    for group in sorted(run.measures, key=lambda name: (name != kind, name)):
        data = run.measure(group)
        if data.attrs.get("kind", listed.get(group, group)) == kind and data.sizes.get("checkpoint", 0) > 1:
            return data
    return None


def _present(run: RecordedRun, names: Iterable[str], twins: bool = False) -> list[str]:
    """Probe sets among these that still are the run's, in order; `twins`: those of others, too."""
    left_out = () if twins else (run.recipe.get("data") or {}).get("twins") or ()
    return [name for name in dict.fromkeys(names) if name in run.probes and name not in left_out]


def _loss_records(evaluation: "xr.Dataset | None", tokens: "xr.Dataset | None") -> list[PassageLosses]:
    """What the two measures recorded by passage. Single tokens are read only if they say more."""
    by_passage = None if evaluation is None else of_evaluation(evaluation)
    if by_passage is not None and tokens is not None:
        more = set(np.unique(tokens["probe_of_token"].to_numpy().astype(str))) - set(by_passage.probe.tolist())
        tokens = tokens if more or tokens.sizes["checkpoint"] > len(by_passage.steps) else None
    records = [by_passage, None if tokens is None else of_tokens(tokens)]
    return [record for record in records if record is not None]


def loss_by_document(run: RecordedRun, probe: str, record: PassageLosses) -> Items:
    """The loss of a probe set from what was recorded by passage."""
    inside = record.of(probe)
    passage, tokens = record.passage[inside], record.tokens[inside].astype(np.float64)
    return _by_document(run, probe, record.steps, passage, record.nats[:, inside], tokens, _LOSS)


def _mean_loss(run: RecordedRun, probe: str, evaluation: "xr.Dataset") -> Items:
    """Of a probe set of which only the mean is known; `evaluation`: its numbers alone."""
    return Items(
        probe=probe,
        role=role_of(run, probe),
        step=evaluation.step.values.astype(np.int64),
        total=evaluation["nll"].values[:, None].astype(np.float64),
        weight=np.ones(1),
        items=0,
        **_LOSS._asdict(),
    )


def _of_items(run: RecordedRun, data: "xr.Dataset", values: np.ndarray, quantity: _Quantity) -> Iterator[Items]:
    """`values` [checkpoints, items]."""
    names, ids = data["probe_of_item"].values.astype(str), data["passage_of_item"].values
    for probe in _present(run, names.tolist()):
        inside = names == probe
        weight = np.ones(int(inside.sum()))
        yield _by_document(run, probe, data.step.values, ids[inside], values[:, inside], weight, quantity)


def _by_document(
    run: RecordedRun,
    probe: str,
    step: np.ndarray,
    passage: np.ndarray,
    values: np.ndarray,
    weight: np.ndarray,
    quantity: _Quantity,
) -> Items:
    """Sums of `values` [checkpoints, items] and `weight` [items] over the items of each document.

    Items without weight, such as passages of which no token counts, are left out unless there are no others.
    """
    if (weight > 0).any():
        passage, values, weight = passage[weight > 0], values[:, weight > 0], weight[weight > 0]
    passages = run.probes[probe].passages
    sources = [original_document(passages[int(i)].source) for i in passage]
    names, index = np.unique(np.array(sources, dtype=str), return_inverse=True)

    def summed(numbers: np.ndarray) -> np.ndarray:  # equal rows give equal sums, which a matrix product may not
        return np.stack([numbers[..., index == i].sum(axis=-1) for i in range(len(names))], axis=-1)

    return Items(
        probe=probe,
        role=role_of(run, probe),
        step=step.astype(np.int64),
        total=summed(values),
        weight=summed(weight),
        items=len(passage),
        **quantity._asdict(),
    )
