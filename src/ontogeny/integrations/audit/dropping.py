"""Hears dropout that a forward pass does by calling a function, wherever the code stands."""

from collections.abc import Callable, Mapping
from typing import Any


def dropping(run: Callable[[], Any]) -> tuple[Any, str | None]:
    """What `run` returns, and the first function of torch that dropped something out in it; None if none did."""
    from torch.overrides import TorchFunctionMode

    found: list[str] = []

    class Listening(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            given = dict(kwargs or {})
            if _rate(func, args, given) > 0:
                found.append(func.__name__)
            return func(*args, **given)

    with Listening():
        returned = run()
    return returned, next(iter(found), None)


def _rate(function: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> float:
    """Share that a call drops out; 0 where it is no dropout, or told that there is no training."""
    import torch
    from torch.nn import functional as F

    if function is F.scaled_dot_product_attention:  # query, key, value, mask, rate
        return float(args[4] if len(args) > 4 else given.get("dropout_p", 0.0))
    if function not in (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, torch.dropout):
        return 0.0
    rate = args[1] if len(args) > 1 else given.get("p", 0.5)
    name, default = ("train", False) if function is torch.dropout else ("training", function is not F.alpha_dropout)
    on = args[2] if len(args) > 2 else given.get(name, default)
    return float(rate) if on else 0.0
