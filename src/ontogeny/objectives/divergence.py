"""Divergences between two distributions over the same buckets: values, and slopes for the second one's logits."""

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["forward", "reverse", "jensen_shannon"]
CLOSE = 1e-3
"""Below this KL, in nats, the usual sum has lost its digits to rounding."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How far Q is from P, in nats. Both are given as log probabilities [n, buckets]; each row adds up to 1.

    - forward: KL(P || Q).
    - reverse: KL(Q || P).
    - jensen_shannon: beta KL(P || M) + (1 - beta) KL(Q || M) with M = beta P + (1 - beta) Q (Agarwal et al. 2024,
      "On-policy distillation of language models", eq. 1). Divided by beta it becomes the forward KL as beta goes to 0;
      divided by 1 - beta, the reverse KL as beta goes to 1.
    """

    direction: Direction
    beta: float = 0.5
    """Between 0 and 1; read by jensen_shannon alone."""

    def values(self, log_p: "Tensor", log_q: "Tensor") -> "Tensor":
        """[n]: the divergence of each row, at least 0 without a clamp."""
        match self.direction:
            case "forward":
                return kl(log_p, log_q)
            case "reverse":
                return kl(log_q, log_p)
            case "jensen_shannon":
                log_m = self._mixture(log_p, log_q)
                return self.beta * kl(log_p, log_m) + (1 - self.beta) * kl(log_q, log_m)

    def slopes(self, log_p: "Tensor", log_q: "Tensor") -> "Tensor":
        """[n, buckets]: derivative by the logits of Q, which is Q (a - sum Q a) with a the derivative by Q."""
        q = log_q.exp()
        match self.direction:
            case "forward":
                return q.sub_(log_p.exp())
            case "reverse":
                a = log_q - log_p
            case "jensen_shannon":
                a = (1 - self.beta) * (log_q - self._mixture(log_p, log_q))
        a -= (q * a).sum(-1, keepdim=True)
        return q.mul_(a)

    def _mixture(self, log_p: "Tensor", log_q: "Tensor") -> "Tensor":
        """log M."""
        return (log_p + log(self.beta)).logaddexp(log_q + log(1 - self.beta))


def kl(log_p: "Tensor", log_q: "Tensor") -> "Tensor":
    """KL(P || Q) of each row in nats, [n]; at least 0 without a clamp.

    It is sum p log(p / q). Where that is below `CLOSE`, the same sum is taken as sum [p log(p / q) + q - p], since P
    and Q add up to 1: each bucket is then at least 0 in floating point, too. With r = log q - log p it is
    p (expm1(r) - r), and for r > 1, q - p - p r, which cancels nothing there.
    """
    p, r = log_p.exp(), log_p - log_q
    values = (p * r).sum(-1)
    close = values < CLOSE
    if bool(close.any()):
        p, r = p[close], -r[close]
        near = p * (r.clamp(max=1.0).expm1() - r)
        values[close] = near.where(r <= 1, log_q[close].exp() - p - p * r).sum(-1)
    return values
