"""The forward passes that stream measures share."""

import time
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.core.measures import Context, Look, Need, Observation, PassMeasure
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.terms import TrainingObjective
from ontogeny.data.collate import Batch, collate
from ontogeny.looking.batch_plan import plan_batches
from ontogeny.looking.guard import looking
from ontogeny.looking.predictions import PREDICTIONS, Predictor
from ontogeny.models.body_and_head import BodyAndHead

if TYPE_CHECKING:
    from torch import Tensor

FORWARD = "forward"
"""Under this name stand the seconds of the passes themselves."""

_BODY = ("hidden_states", "last_block", "attentions")
_NEEDS = PREDICTIONS | {"logits", *_BODY}


class ForwardedBatch:
    """`core.measures.ForwardBatch`: outputs of a forward pass. Reading one that no look needs raises AttributeError.

    `logits` [B, T, V] stand where the model gives them: position t predicts token t + 1.
    """

    def __init__(self, probe: str, rows: np.ndarray, passages: Sequence[Passage], **tensors: Any) -> None:
        self.probe = probe
        self.rows = rows
        self.passages = passages
        self.__dict__.update(tensors)

    def __getattr__(self, name: str) -> Any:
        if name in _NEEDS:
            raise AttributeError(f"this forward pass has no '{name}': add it to `needs` of the measure that reads it")
        raise AttributeError(name)


def forward_probe_set(
    model: BodyAndHead,
    probe: ProbeSet,
    needs: Set[Need],
    batch_tokens: int,
    *,
    name: str | None = None,
    objective: TrainingObjective | None = None,
) -> Iterator[ForwardedBatch]:
    """Run a probe set forward, batch by batch, and describe every prediction as far as needed.

    The model must be in evaluation mode, without gradients (`guard.looking`). `name` is the batches' `probe`, by
    default the set's own. `objective` brings the companions that its terms read. Raises DataError if a passage is
    longer than the model's context, or lacks a side input that the model reads.
    """
    longest = max((len(passage) for passage in probe.passages), default=0)
    if model.context_length is not None and longest > model.context_length:
        raise DataError(
            f"probe set '{probe.name}' holds a passage of {longest} tokens, the model takes {model.context_length}: "
            f"set data.length to at most {model.context_length}"
        )
    predictor = Predictor(model, needs)
    for rows in plan_batches([len(passage) for passage in probe.passages], batch_tokens):
        batch = collate([probe.passages[row] for row in rows], 0).to(model.device)
        yield ForwardedBatch(
            name or probe.name,
            rows,
            batch.passages,
            model=model.model,
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            supervised=batch["supervised"],
            sides=batch.sides,
            companions=objective.companion_forwards(batch) if objective is not None else {},
            **_forward(model, predictor, batch, needs),
        )


def _forward(model: BodyAndHead, predictor: Predictor, batch: Batch, needs: Set[Need]) -> dict[str, Any]:
    ids = batch["input_ids"]
    wanted: dict[str, Any] = {name: name in needs for name in _BODY}
    body = model.body(ids, sides=batch.sides, **wanted)
    outputs: dict[str, Any] = {name: getattr(body, name) for name in _BODY if name in needs}
    predicted = _predicted(batch)
    values = predictor(body.last_hidden[:, :-1][predicted], ids[:, 1:][predicted])
    for key, value in values.items():
        missing = float("nan") if value.is_floating_point() else -1
        outputs[key] = value.new_full(ids.shape, missing)
        outputs[key][:, 1:][predicted] = value
    if "logits" in needs:
        outputs["logits"] = model.head(body.last_hidden)
    return outputs


def _predicted(batch: Batch) -> "Tensor":
    """bool [B, T - 1]: is the token after this position predicted? Not so padding, nor what stands before a text."""
    import torch

    predicted = batch["attention_mask"][:, 1:].bool()
    first = torch.tensor([passage.first_predicted for passage in batch.passages], device=predicted.device)
    return predicted & (torch.arange(1, predicted.shape[1] + 1, device=predicted.device) >= first[:, None])


def run_stream_looks(
    context: Context, measures: Sequence[PassMeasure]
) -> tuple[dict[str, Observation], dict[str, float]]:
    """Run each probe set forward once and show every batch to every measure that wants it.

    Sets that measures derive from a probe set are run as well, identical ones once. The model is left as it was.
    Returns what was seen, by group; and the seconds it took, by group and, for the shared passes, under `forward`.
    """
    seconds = {FORWARD: 0.0} | {measure.group: 0.0 for measure in measures}
    seen: dict[str, Observation] = {}
    if not measures:
        return seen, seconds
    with looking(context.model):
        model = BodyAndHead(context.model)
        looks: list[tuple[PassMeasure, Look]] = []
        for measure in measures:
            started = time.perf_counter()
            looks.append((measure, measure.look(context)))
            _charge(seconds, measure.group, started)
        own = [(name, [(probe, [(m, look)])]) for m, look in looks for name, probe in m.own_sets(context).items()]
        shared = [(name, _share(name, probe, looks)) for name, probe in context.probes.items()]
        for name, sets in [*shared, *own]:
            for passages, sharing in sets:
                needs = frozenset().union(*(measure.needed(context) for measure, _ in sharing))
                started = time.perf_counter()
                for batch in forward_probe_set(
                    model, passages, needs, context.batch_tokens, name=name, objective=context.objective
                ):
                    started = _charge(seconds, FORWARD, started)
                    for measure, look in sharing:
                        look.see(batch)
                        started = _charge(seconds, measure.group, started)
        for measure, look in looks:
            started = time.perf_counter()
            seen[measure.group] = look.result()
            _charge(seconds, measure.group, started)
    return seen, seconds


Sharing = list[tuple[PassMeasure, Look]]


def _share(name: str, probe: ProbeSet, looks: Sequence[tuple[PassMeasure, Look]]) -> list[tuple[ProbeSet, Sharing]]:
    """The sets to run for one probe set (itself, or derived from it), each with the looks that share it."""
    by_fingerprint: dict[str, tuple[ProbeSet, Sharing]] = {}
    for measure, look in looks:
        if measure.wants(name):
            own = measure.derived(probe)
            wanted = probe if own is None else own
            by_fingerprint.setdefault(wanted.fingerprint, (wanted, []))[1].append((measure, look))
    return list(by_fingerprint.values())


def _charge(seconds: dict[str, float], group: str, started: float) -> float:
    now = time.perf_counter()
    seconds[group] += now - started
    return now
