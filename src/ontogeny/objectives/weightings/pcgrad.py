"""Gradients of terms that conflict are projected before they are added."""

from typing import TYPE_CHECKING, ClassVar

from ontogeny.core.weightings import Weighting

if TYPE_CHECKING:
    import numpy as np


class PcGrad(Weighting):
    """What a term's gradient has against another's is taken out: g_i -= (g_i . g_j / |g_j|^2) g_j where g_i . g_j < 0.

    Projecting conflicting gradients (Yu et al. 2020, "Gradient surgery for multi-task learning", algorithm 1): g_i is
    projected on the normal plane of each other g_j in turn, in an order drawn anew for every step and term, and the
    step follows the sum. Gradients are those of the weighted terms over the whole step, all micro-batches, and over the
    model's parameters; a part that a term trains for itself follows the plain sum. As every g_i changes by multiples of
    other gradients, the step is a weighted sum of them, sum c_i w_i g_i with c_i >= 1: c_i w_i is recorded. Terms that
    pull together are left as they are. The objective that is reported is the one before projection.

    It removes conflict between *these* terms on *this* batch, noise counted in; `term_gradients` says how much of it
    there is beyond noise. `gradient_norms` and the audit see the plain sum.
    """

    cost: ClassVar[str] = (
        "one backward pass for each term in place of one for all, and a gradient for each term in memory"
    )
    separate: ClassVar[bool] = True

    def coefficients(self, products: "np.ndarray", seed: int) -> "np.ndarray":
        """c, float64 [n]; from products alone, since all projections stay in the span of the gradients."""
        import numpy as np

        generator = np.random.default_rng(seed)
        n = len(products)
        projected = np.eye(n)  # row i: g_i as a sum of all gradients
        for i in range(n):
            for j in generator.permutation(n):
                along = projected[i] @ products[:, j]
                if j != i and along < 0 and products[j, j] > 0:
                    projected[i, j] -= along / products[j, j]
        return projected.sum(axis=0)
