"""Runs the model again on batches that it was trained on: rows alone, more padding, other first documents, reloaded."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.dropping import dropping
from ontogeny.integrations.audit.listening import logits_of
from ontogeny.integrations.audit.observed import Markers, OutputDifference, Reruns
from ontogeny.integrations.audit.reading import next_token_nll, numpy_of, token_ids
from ontogeny.integrations.audit.recording import ForwardRecord
from ontogeny.integrations.audit.reloading import Reloading, copied_again, difference
from ontogeny.integrations.audit.rerun_batches import LEAST_SECOND, RerunBatch, batch_of, markers_of, second_documents
from ontogeny.looking.guard import looking

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.integrations.audit.recorder import Recorder

ROWS = 4
"""Rows of a batch that are run again."""
FURTHER = 8
"""Places of further padding."""
NEXT = 0.9
"""Share of targets that are the next token, of a model that predicts next tokens."""
INVARIANT = frozenset({"row_depends_on_batch", "row_depends_on_padding", "sees_the_future"})
"""Checks that a batch is run again for, changed in ways that matter to nothing."""


class _NotAlikeError(Exception):
    """The model does not give, when it is run again, what it gave in training."""


def attach(recorder: "Recorder") -> None:
    """Keep a batch with padding and one of several documents to a row; run them again at the end."""
    runner = Rerunner(recorder)
    recorder.listeners.at_start.append(runner.begin)
    recorder.listeners.on_forward.append(runner.keep)
    recorder.listeners.on_evaluation.append(runner.keep_evaluated)
    recorder.listeners.at_end.append(runner.run)


class Rerunner:
    """Keeps batches while training goes on, and runs them when it is over."""

    def __init__(self, recorder: "Recorder") -> None:
        self.recorder = recorder
        self.uneven: RerunBatch | None = None
        self.packed: RerunBatch | None = None
        self.any: RerunBatch | None = None
        self.evaluated: RerunBatch | None = None
        self.reloading = Reloading(recorder.heard)

    def begin(self) -> None:
        """Which tokens are markers; what the model holds beside its parameters and saved buffers."""
        self.recorder.seen.markers = markers_of(self.recorder.heard, self.recorder.seen.tokenizer)
        if "saved_model_differs" not in self.recorder.skip:
            self.reloading.begin()

    def keep(self, forward: ForwardRecord, given: Mapping[str, Any], logits: "Tensor | None") -> None:
        """Keep the batch if none of its kind is kept yet."""
        if forward.input_ids is None or (self.uneven and self.packed):
            return
        seen = self.recorder.seen
        batch = batch_of(forward, given, seen.markers)
        if batch is None:
            return
        copied = all(hasattr(one, "detach") for one in batch.others.values())
        if self.packed is None and copied and second_documents(batch, seen.markers):
            self.packed = batch
        if batch.others:
            given_too = min(batch.others)
            seen.reruns.lacks = f"a model that is called with token ids, mask and positions: it is given {given_too}"
            return
        if not batch.plain:
            seen.reruns.lacks = "an attention mask [batch, time]"
            return
        if self.any is None:
            self.any = batch
        if self.uneven is None and len(batch.real) > 1 and not batch.real.all():
            self.uneven = batch

    def keep_evaluated(self, given: Mapping[str, Any], logits: "Tensor") -> None:
        """Keep a batch of the evaluation, one with padding if there is any."""
        ids = token_ids(given, tuple(logits.shape[:2]), decoder=False)
        if ids is None or given.get("past_key_values") is not None:  # a cache has been filled meanwhile
            return
        if self.evaluated is not None and not self.evaluated.real.all():
            return
        mask = given.get("attention_mask")
        forward = ForwardRecord(step=0, training=False, input_ids=numpy_of(ids))
        if mask is not None and tuple(mask.shape) == tuple(ids.shape):
            forward.attention_mask = numpy_of(mask)
        batch = batch_of(forward, given, self.recorder.seen.markers)
        if batch is not None and batch.plain and (self.evaluated is None or not batch.real.all()):
            self.evaluated = batch

    def run(self) -> None:
        """Everything that can be run again, without gradients, in evaluation mode, with all put back."""
        found, model = self.recorder.seen.reruns, self.recorder.heard
        batch = self.uneven or self.any
        if _in_parts():
            found.lacks = found.reload_lacks = "a model in one process"
            return
        found.reload_lacks = found.lacks
        try:
            with looking(self.recorder.model, parameters=copied_again(self.recorder.model)):
                tolerance = _tolerance(model)
                skip = self.recorder.skip
                if (first := batch or self.packed or self.evaluated) is not None:
                    _steady(found, model, first.rows(ROWS), tolerance)
                if self.packed is not None and "packing_leaks" not in skip:
                    _packing(found, model, self.packed.rows(ROWS), self.recorder.seen.markers, tolerance)
                if batch is not None and not skip >= INVARIANT:
                    batch = batch.rows(ROWS)
                    self._invariance(found, batch, nll_of(model, batch), tolerance)
                if self.evaluated is not None and "evaluation_depends_on_batch" not in skip and not _looks_ahead(found):
                    rows = self.evaluated.rows(ROWS)
                    found.evaluated = _alone(model, rows, nll_of(model, rows), tolerance)
                if (whole := batch or self.packed) is not None and "saved_model_differs" not in skip:
                    tensors = self.recorder.seen.tensors
                    trained = tensors.trainable & tensors.moved if tensors is not None else frozenset()
                    live = nll_of(model, whole)[whole.real]
                    self.reloading.reload(found, live, trained, lambda one: nll_of(one, whole)[whole.real], tolerance)
        except _NotAlikeError as error:
            found.lacks = found.reload_lacks = str(error)

    def _invariance(self, found: Reruns, batch: RerunBatch, live: np.ndarray, tolerance: float) -> None:
        model = self.recorder.heard
        found.future = _future(model, batch, live, self.recorder.seen.markers, tolerance)
        if _looks_ahead(found):  # what comes behind a row, padding too, is not the same then
            found.lacks = "a model that does not see later tokens"
            return
        found.alone = _alone(model, batch, live, tolerance)
        _padded_further(found, model, batch, live, self.recorder.seen.markers.pad or 0, tolerance)


def nll_of(model: Any, batch: RerunBatch) -> np.ndarray:
    """NLL of each token, float64 [B, T]; NaN at position 0."""
    given: dict[str, Any] = {batch.name: batch.ids, "attention_mask": batch.mask, "position_ids": batch.positions}
    given = {name: value for name, value in given.items() if value is not None}
    logits = logits_of(model(**given, **batch.settings, **batch.others), model)
    nll = None
    if logits is not None and logits.shape[:2] == batch.ids.shape:
        nll = next_token_nll(logits, batch.ids)
    if nll is None:
        raise _NotAlikeError("logits [batch, time, vocabulary] of a model that is given token ids without labels")
    return nll


def _steady(found: Reruns, model: Any, batch: RerunBatch, tolerance: float) -> None:
    """Does the model give the same for the same batch twice, and is anything dropped out?

    Not where it draws random numbers, or keeps a state from one forward pass to the next; what moves little by little,
    as the range of an observer, shows in a small difference.
    """
    first = nll_of(model, batch)
    if hasattr(model, "_orig_mod"):  # torch.compile would compile anew for one who listens
        again = nll_of(model, batch)
    else:
        again, found.drops_out = dropping(lambda: nll_of(model, batch))
    if difference(first, again, tolerance / 100).large:
        raise _NotAlikeError("a model that gives the same for the same batch twice, in evaluation mode")


def _packing(found: Reruns, model: Any, batch: RerunBatch, markers: Markers, tolerance: float) -> None:
    spans = second_documents(batch, markers)
    if not spans:
        return
    before, after = (
        nll_of(model, one)
        for one in (batch, _replaced(batch, {row: slice(0, start - 1) for row, start, _ in spans}, markers))
    )
    # The first token of a document is predicted from the one before it: only what follows belongs to it alone.
    first, second = (np.concatenate([nll[row, a + 1 : b] for row, a, b in spans]) for nll in (before, after))
    found.packed = difference(first, second, tolerance)
    found.positions_begin_anew = batch.positions is not None


def _replaced(batch: RerunBatch, spans: Mapping[int, slice], markers: Markers) -> RerunBatch:
    """With other ordinary tokens of the batch in these places of rows."""
    import torch

    ordinary = np.setdiff1d(batch.ids.cpu().numpy()[batch.real], list(_given(markers)))
    ids, draw = batch.ids.clone(), np.random.default_rng(0)
    for row, span in spans.items():
        drawn = draw.choice(ordinary, len(ids[row, span]))
        ids[row, span] = torch.as_tensor(drawn, dtype=ids.dtype, device=ids.device)
    return replace(batch, ids=ids)


def _future(
    model: Any, batch: RerunBatch, live: np.ndarray, markers: Markers, tolerance: float
) -> OutputDifference | None:
    """Tokens that were learned as the next ones, against the same with the later half of them replaced.

    None where others than next tokens are learned, as by an encoder. Before the first that is learned, a prompt may
    well be seen as a whole.
    """
    if batch.forward.targets is None:
        return None
    ids, pulled = batch.ids.cpu().numpy(), batch.forward.targets.ids[: len(batch.ids), :-1]
    hits = (pulled == ids[:, 1:]) & batch.real[:, 1:]
    if hits.sum() < NEXT * (pulled >= 0).sum():
        return None
    earlier, spans = {}, {}
    for row in range(len(ids)):
        learned = 1 + np.flatnonzero(hits[row])
        if len(learned) >= 2 * LEAST_SECOND:
            middle, last = int(learned[len(learned) // 2]), int(np.flatnonzero(batch.real[row])[-1])
            earlier[row], spans[row] = learned[learned < middle], slice(middle, last + 1)
    if not spans:
        return None
    after = nll_of(model, _replaced(batch, spans, markers))
    first, second = (np.concatenate([nll[row, at] for row, at in earlier.items()]) for nll in (after, live))
    return difference(first, second, tolerance)


def _looks_ahead(found: Reruns) -> bool:
    return found.future is not None and found.future.large


def _alone(model: Any, batch: RerunBatch, live: np.ndarray, tolerance: float) -> OutputDifference | None:
    """Each row alone and without padding, against the same row in its batch, whose NLL is `live`."""
    alone, here = [], []
    for row in range(len(live)):
        at = np.flatnonzero(batch.real[row])
        if len(at) < 2:
            continue
        span = slice(int(at[0]), int(at[-1]) + 1)
        alone.append(nll_of(model, batch.part(slice(row, row + 1), span))[0, 1:])
        here.append(live[row, span][1:])
    return difference(np.concatenate(alone), np.concatenate(here), tolerance) if alone else None


def _padded_further(found: Reruns, model: Any, batch: RerunBatch, live: np.ndarray, pad: int, tolerance: float) -> None:
    from torch.nn import functional as F

    longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    left = bool((~batch.real[:, 0]).any())
    if longest and batch.ids.shape[1] + FURTHER > longest:
        found.padded_lacks = f"a batch of at most {longest - FURTHER} places, to which {FURTHER} can be added"
        return
    if batch.mask is None and (left or bool(batch.real.all())):  # rows alone tell the same; or nothing is ever padded
        found.padded_lacks = "a batch that is padded on the right, or has an attention mask"
        return
    widen = (FURTHER, 0) if left else (0, FURTHER)
    mask, positions = (None if one is None else F.pad(one, widen, value=0) for one in (batch.mask, batch.positions))
    wider = replace(batch, ids=F.pad(batch.ids, widen, value=pad), mask=mask, positions=positions)
    inside = slice(FURTHER, None) if left else slice(0, batch.ids.shape[1])
    first = batch.real & ~np.pad(batch.real, ((0, 0), (1, 0)))[:, :-1]
    counted = batch.real & ~first
    found.padded = difference(nll_of(model, wider)[:, inside][counted], live[counted], tolerance)


def _tolerance(model: Any) -> float:
    """1e-3 nats for float32 and wider; 0.1 for 16 bits and fewer, whose logits have three digits."""
    return 1e-3 if next(p for p in model.parameters() if p.is_floating_point()).element_size() >= 4 else 0.1


def _given(markers: Markers) -> set[int]:
    return {*markers.ends, *(one for one in (markers.begin, markers.pad) if one is not None)}


def _in_parts() -> bool:
    """Are there several processes? A forward pass of one of them alone may wait for the others for ever."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
