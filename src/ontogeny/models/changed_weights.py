"""Which parameters have moved."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def has_moved(now: "Tensor", start: "Tensor", tolerance: float) -> "Tensor":
    """Where |now - start| is more than `tolerance` times the root mean square of the tensor at the start: bool.

    Relative to the tensor, not to each parameter, since one that happens to be near 0 has not moved far by doubling. Of
    a tensor that was all 0, every parameter that is no longer 0.
    """
    return (now - start).abs() > tolerance * start.double().square().mean().sqrt().to(start.dtype)
