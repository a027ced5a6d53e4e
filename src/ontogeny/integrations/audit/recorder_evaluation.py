"""One evaluation, carried out under a guard once training has ended: what it returns, uses and leaves behind."""

import functools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from ontogeny.integrations.audit.listening import eager, language_model, logits_of
from ontogeny.integrations.audit.reading import arguments, fingerprints, next_token_nll, numpy_of
from ontogeny.integrations.audit.seen import LEAST_ROW, Evaluated, EvaluationPass
from ontogeny.train.guard import untouched

_SEED = 0x0E7A1


def evaluate_once(model: Any, evaluate: Callable[[], Any], *, averaged: Any) -> Evaluated:
    """Call `evaluate` as the loop does, from training mode; afterwards everything is as it was before.

    `averaged`: what `watch(ema=…)` gave, or None. Costs a copy of the weights and three passes over them, besides the
    evaluation.
    """
    import torch

    found = Evaluated()
    with ExitStack() as guards:
        guards.enter_context(untouched(model, parameters=True))
        if isinstance(averaged, torch.nn.Module):
            guards.enter_context(untouched(averaged, parameters=True))
        model.train()
        before = fingerprints(model) | _buffers(model)
        torch.manual_seed(_SEED)
        watched = [(model, False), *([(averaged, True)] if isinstance(averaged, torch.nn.Module) else [])]
        handles = []
        for one, is_averaged in watched:
            see = functools.partial(_see, found, before=before, whole=one, averaged=is_averaged)
            handles.append(language_model(one).register_forward_hook(eager(see), with_kwargs=True))
        try:
            found.numbers = numbers_of(evaluate())
        finally:
            for handle in handles:
                handle.remove()
        found.reseeded = torch.initial_seed() != _SEED
        after = fingerprints(model) | _buffers(model)
        found.changed = tuple(sorted(name for name in before if after.get(name) != before[name]))
        found.gradients = tuple(name for name, p in model.named_parameters() if p.grad is not None)
    return found


def _see(
    found: Evaluated,
    module: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    output: Any,
    *,
    before: Mapping[str, int],
    whole: Any,
    averaged: bool,
) -> None:
    given, logits = arguments(module, args, kwargs), logits_of(output)
    ids = given.get("input_ids")
    if logits is None or ids is None or ids.shape != logits.shape[:2] or ids.shape[1] < 2:
        return
    nll = next_token_nll(logits, ids)
    if nll is None:
        return
    if not averaged and not found.passes:
        found.foreign_weights = any(bits != before[name] for name, bits in fingerprints(whole).items())
    labels, mask = given.get("labels"), given.get("attention_mask")
    real = np.ones(nll.shape, dtype=bool) if mask is None or mask.shape != ids.shape else numpy_of(mask) > 0
    wanted = None if labels is None or labels.shape != ids.shape else numpy_of(labels) != -100
    counts = (real if wanted is None else wanted)[:, 1:]
    rows = zip(numpy_of(ids), real, strict=True)
    found.passes.append(
        EvaluationPass(
            training=bool(module.training),
            averaged=averaged,
            labelled=wanted is not None,
            nll=float(nll[:, 1:][counts].sum()),
            tokens=int(counts.sum()),
            rows=tuple(hash(row[here].tobytes()) if here.sum() >= LEAST_ROW else 0 for row, here in rows),
        )
    )


def numbers_of(returned: Any) -> dict[str, float]:
    """The numbers among what an evaluation returned; a single one is called `loss`."""
    if isinstance(returned, Mapping):
        flat = {str(name): _number(value) for name, value in returned.items()}
        return {name: value for name, value in flat.items() if value is not None}
    single = _number(returned)
    return {} if single is None else {"loss": single}


def _number(value: Any) -> float | None:
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _buffers(model: Any) -> dict[str, int]:
    import torch

    return {
        f"buffer {name}": hash(t.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        for name, t in model.named_buffers()
    }
