"""One evaluation, carried out under a guard once training has ended: what it returns, uses and leaves behind."""

import functools
import inspect
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ontogeny.integrations.audit.listening import Hook, language_model, logits_of
from ontogeny.integrations.audit.reading import arguments, fingerprints, next_token_nll, numpy_of, relative_change
from ontogeny.integrations.audit.seen import LEAST_ROW, Evaluated, EvaluationPass
from ontogeny.looking.guard import State, untouched

_SEED = 0x0E7A1
ROUNDING = 1e-6
"""Relative change of a tensor below which it is rounding: eight times that of 32 bits."""
USES = frozenset(
    {
        "evaluation_leaves_alone",
        "evaluation_in_training_mode",
        "evaluation_counts_once",
        "evaluation_token_weighted",
        "evaluation_depends_on_batch",
        "perplexity_of_nll",
        "evaluation_objective",
        "average_lags",
    }
)
"""Checks that the evaluation is carried out for."""


def evaluate_once(
    model: Any, evaluate: Callable[..., Any], *, averaged: Any, rows: int, looks: Callable[..., None]
) -> Evaluated:
    """Call `evaluate` as the loop does, from training mode; afterwards everything is as it was before.

    `averaged`: what `watch(ema=…)` gave, or None. `rows`: of a batch, where `evaluate` takes a `batch_size` and has no
    default for it. `looks`: is told the arguments and logits of each pass. Costs a copy of the weights and three passes
    over them, besides the evaluation.
    """
    import torch

    found = Evaluated()
    size = _size(evaluate, rows)
    if size is not None:
        found.sizes = size, max(size // 2, 1) if size > 1 else 2
    with ExitStack() as guards:
        state = _guard(guards, model, averaged)
        modes = {name: module.training for name, module in model.named_modules()}
        before = fingerprints(model) | _buffers(model)
        watched = [(model, False), *([(averaged, True)] if isinstance(averaged, torch.nn.Module) else [])]
        handles = []
        for one, is_averaged in watched:
            see = functools.partial(_see, found, before=before, whole=one, averaged=is_averaged, looks=looks)
            handles.append(language_model(one).register_forward_hook(Hook(see), with_kwargs=True))
        try:
            with seeds_set() as seeded:
                found.numbers = numbers_of(evaluate() if size is None else evaluate(batch_size=size))
        finally:
            for handle in handles:
                handle.remove()
        found.reseeded = (*(("torch",) if torch.initial_seed() != _SEED else ()), *seeded)
        found.modes = tuple(name for name, module in model.named_modules() if modes.get(name) != module.training)
        after = fingerprints(model) | _buffers(model)
        changed = sorted(name for name in before if after.get(name) != before[name])
        found.rounded = _rounded(model, changed, state)
        found.changed = tuple(name for name in changed if name not in found.rounded)
        found.gradients = tuple(name for name, p in model.named_parameters() if p.grad is not None)
    return found


def _rounded(model: Any, changed: Collection[str], state: State) -> tuple[str, ...]:
    """Parameters that differ by no more than rounding."""
    found = []
    for name, p in model.named_parameters():
        then = state.before(p) if name in changed else None
        if then is not None and then.shape == p.shape and then.dtype == p.dtype:
            change = relative_change({name: then}, {name: p.detach()})
            found += [name] if change < ROUNDING else []
    return tuple(found)


def evaluate_at_another_size(found: Evaluated, model: Any, evaluate: Callable[..., Any], *, averaged: Any) -> None:
    """Call it once more, with batches of half the rows, where it takes a `batch_size`."""
    if found.sizes is not None:
        with ExitStack() as guards:
            _guard(guards, model, averaged)
            found.at_other_size = numbers_of(evaluate(batch_size=found.sizes[1]))


def _guard(guards: ExitStack, model: Any, averaged: Any) -> State:
    """Put everything back afterwards; begin in training mode, with a known seed. Returns the model's state."""
    import torch

    state = guards.enter_context(untouched(model, parameters=True))
    if isinstance(averaged, torch.nn.Module):
        guards.enter_context(untouched(averaged, parameters=True))
    model.train()
    torch.manual_seed(_SEED)
    return state


def _size(evaluate: Callable[..., Any], rows: int) -> int | None:
    """The batch size to begin with: the default of the parameter of that name, or `rows`; None if there is none."""
    try:
        parameter = inspect.signature(evaluate).parameters.get("batch_size")
    except (TypeError, ValueError):
        return None
    if parameter is None:
        return None
    return parameter.default if isinstance(parameter.default, int) and parameter.default > 0 else rows


@contextmanager
def seeds_set() -> Iterator[list[str]]:
    """Which seeds of Python's and numpy's generators are set inside and not put back: known on leaving.

    A state alone does not tell a seed from many draws; so the functions that set one say when they are called.
    """
    called: list[str] = []
    modules: dict[str, Any] = {"numpy": np.random, "random": random}
    own = {name: module.seed for name, module in modules.items()}

    def telling(name: str) -> Callable[..., None]:
        def seed(*args: Any, **kwargs: Any) -> None:
            called.append(name)
            own[name](*args, **kwargs)

        return seed

    before = _states()
    set_and_kept: list[str] = []
    for name, module in modules.items():
        module.seed = telling(name)
    try:
        yield set_and_kept
    finally:
        for name, module in modules.items():
            module.seed = own[name]
        after = _states()
        set_and_kept += [name for name in own if name in called and before[name] != after[name]]


def _states() -> dict[str, Any]:
    """What the generators draw from, without the place in it, which every draw moves."""
    state: Any = np.random.get_state()
    return {"numpy": state[1].tobytes(), "random": random.getstate()[1][:-1]}


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
    looks: Callable[..., None],
) -> None:
    given, logits = arguments(module, args, kwargs), logits_of(output, module)
    ids = given.get("input_ids")
    if logits is None or ids is None or ids.shape != logits.shape[:2] or ids.shape[1] < 2:
        return
    nll = next_token_nll(logits, ids)
    if nll is None:
        return
    if not averaged:
        looks(given, logits)
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
