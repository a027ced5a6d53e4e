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
        return self.between(Distribution(log=log_p), Distribution(log=log_q))

    def between(self, p: "Distribution", q: "Distribution") -> "Tensor":
        """[n]: the same of distributions whose probabilities may be known already."""
        match self.direction:
            case "forward":
                return _kl(p, q)
            case "reverse":
                return _kl(q, p)
            case "jensen_shannon":
                m = Distribution(log=self._mixture(p.log, q.log))
                return self.beta * _kl(p, m) + (1 - self.beta) * _kl(q, m)

    def slopes(self, p: "Distribution", q: "Distribution") -> "Tensor":
        """[n, buckets]: derivative by the logits of Q, which is Q (a - sum Q a) with a the derivative by Q.

        Written into the probabilities of Q.
        """
        probabilities = q.probabilities
        match self.direction:
            case "forward":
                return probabilities.sub_(p.probabilities)
            case "reverse":
                a = q.log - p.log
            case "jensen_shannon":
                a = (1 - self.beta) * (q.log - self._mixture(p.log, q.log))
        a -= (probabilities * a).sum(-1, keepdim=True)
        return probabilities.mul_(a)

    def _mixture(self, log_p: "Tensor", log_q: "Tensor") -> "Tensor":
        """log M."""
        return (log_p + log(self.beta)).logaddexp(log_q + log(1 - self.beta))


class Distribution:
    """Probabilities of n rows over the same buckets, each row adding up to 1; an exponential is taken once."""

    def __init__(self, *, log: "Tensor", probabilities: "Tensor | None" = None) -> None:
        self.log = log
        """[n, buckets]: log probabilities, in nats."""
        self._probabilities = probabilities

    @property
    def probabilities(self) -> "Tensor":
        """[n, buckets]."""
        if self._probabilities is None:
            self._probabilities = self.log.exp()
        return self._probabilities


def kl(log_p: "Tensor", log_q: "Tensor") -> "Tensor":
    """KL(P || Q) of each row in nats, [n]; at least 0 without a clamp.

    It is sum p log(p / q). Where that is below `CLOSE`, the same sum is taken as sum [p log(p / q) + q - p], since P
    and Q add up to 1: each bucket is then at least 0 in floating point, too. With r = log q - log p it is
    p (expm1(r) - r), and for r > 1, q - p - p r, which cancels nothing there.
    """
    return _kl(Distribution(log=log_p), Distribution(log=log_q))


def _kl(p: "Distribution", q: "Distribution") -> "Tensor":
    values = (p.log - q.log).mul_(p.probabilities).sum(-1)
    close = values < CLOSE
    if bool(close.any()):
        near_p, r = p.probabilities[close], q.log[close] - p.log[close]
        near = near_p * (r.clamp(max=1.0).expm1() - r)
        values[close] = near.where(r <= 1, q.probabilities[close] - near_p - near_p * r).sum(-1)
    return values
