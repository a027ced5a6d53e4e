"""Which parameters have changed noticeably."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def has_moved(now: "Tensor", start: "Tensor", tolerance: float) -> "Tensor":
    """Mask of parameters with |now - start| > `tolerance` x the root mean square of the tensor at the start: bool.

    The change is relative to the tensor, not to each parameter, because a parameter near 0 has not moved far when it
    doubles. In a tensor that started as all 0, every parameter that is not 0 now has moved.
    """
    return (now - start).abs() > tolerance * start.double().square().mean().sqrt().to(start.dtype)
