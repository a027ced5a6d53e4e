"""How likely sampling is to write a passage's continuation, and so how many samples it takes to see it."""

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, numpy_of, variable

if TYPE_CHECKING:
    from torch import Tensor


class Discoverable(StreamMeasure):
    """(n, p)-discoverable extraction (Hayes et al., "Measuring memorization through probabilistic discoverable
    extraction", 2024): the chance that the m tokens after the first k are written at least once in n samples.

    p_z is the probability that the stated sampler (temperature, then top-k) writes exactly those tokens; its logarithm
    is the sum over them in the teacher-forced pass, so nothing is sampled: 1 - (1 - p_z)^n = -expm1(n log1p(-p_z)).
    Per passage: `log_p` (nats; -infinity where a token is not among the top k), `samples_for_p`: the n at which the
    chance reaches `p` (infinite likewise), and `discovered`, the chance, on the axis `n`. Per probe set `share` on the
    axis `n`: passages whose chance is at least p. NaN for passages of fewer than k + m tokens.

    A separate measure from `extraction` because it reads all logits of the suffix, where that reads ranks alone.
    """

    prefix_tokens: int = Field(default=32, ge=1)
    """k: tokens given."""
    suffix_tokens: int = Field(default=32, ge=1)
    """m: tokens to write."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits."""
    top_k: int | None = Field(default=40, ge=1)
    """Sample from so many of the likeliest tokens; none for all."""
    n: tuple[int, ...] = Field(default=(1, 10, 100, 1000), min_length=1)
    """Numbers of samples."""
    p: float = Field(default=0.5, gt=0, lt=1)
    """Chance from which a passage counts as discoverable."""

    needs: ClassVar[frozenset[Need]] = frozenset({"logits"})
    cost: ClassVar[str] = "all logits of the shared pass at once: tokens x vocabulary x 4 bytes per forward batch"

    def look(self, context: Context) -> Look:
        """Start with nothing seen."""
        return _Look(self, FlatAxes.of(context, self.probes))


class _Look:
    def __init__(self, measure: Discoverable, axes: FlatAxes) -> None:
        self.measure = measure
        self.axes = axes
        self.log_p = np.full(axes.passages, np.nan)

    def see(self, batch: ForwardBatch) -> None:
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        rows = np.flatnonzero(self.axes.lengths[batch.probe][batch.rows] >= k + m)
        log_p = np.full(len(batch.rows), np.nan)
        if len(rows):
            logits = batch.logits[rows, k - 1 : k + m - 1]
            targets = batch.input_ids[rows, k : k + m]
            found = sampler_log_probability(logits, targets, self.measure.temperature, self.measure.top_k)
            log_p[rows] = numpy_of(found.sum(dim=1))
        self.axes.put_passages(batch, log_p, self.log_p)

    def result(self) -> Observation:
        import xarray as xr

        counts = np.array(self.measure.n, dtype=np.int64)
        chance = chance_in(self.log_p, counts)
        parts = [chance[self.axes.of_probe(name)] for name in self.axes.probes]
        shares = [[_share(part[:, i], self.measure.p) for i in range(len(counts))] for part in parts]
        n = [int(np.isfinite(part[:, 0]).sum()) for part in parts]
        needed = samples_for(self.log_p, self.measure.p)
        variables: dict[str, Any] = {
            "log_p": variable("passage", self.log_p, "nats", "log-probability that the sampler writes the suffix"),
            "samples_for_p": variable("passage", needed, "samples", "samples to reach p"),
            "discovered": variable(("passage", "n"), chance, "1", "chance to see the suffix in n samples"),
            "share": variable(("probe", "n"), shares, "1", "share of passages whose chance is at least p"),
            "passages": variable("probe", n, "passages", "passages long enough"),
        }
        coordinates = {**self.axes.probe_coordinates(), **self.axes.passage_coordinates(), "n": counts}
        sampler = f"temperature {self.measure.temperature:g}, top-k {self.measure.top_k or 'all'}"
        return Observation(arrays=xr.Dataset(variables, coordinates, {"sampler": sampler, "p": self.measure.p}))


def sampler_log_probability(logits: "Tensor", targets: "Tensor", temperature: float, top_k: int | None) -> "Tensor":
    """log p of each target under the sampler, float64 [...]: -infinity outside the top k (ties with the last are in).

    `logits` [..., V], `targets` int64 [...].
    """
    import torch

    scaled = logits.double() / temperature
    own = scaled.gather(-1, targets[..., None])[..., 0]
    if top_k is None or top_k >= scaled.shape[-1]:
        return own - torch.logsumexp(scaled, dim=-1)
    best = scaled.topk(top_k, dim=-1).values
    inside_top = own >= best[..., -1]
    return torch.where(inside_top, own - torch.logsumexp(best, dim=-1), -math.inf)


def chance_in(log_p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """1 - (1 - p)^n, float64 [passages, n], without loss where p is tiny or 1."""
    with np.errstate(divide="ignore"):
        missed = np.log1p(-np.exp(log_p))
    found: np.ndarray = -np.expm1(n[None] * missed[:, None])
    return found


def samples_for(log_p: np.ndarray, p: float) -> np.ndarray:
    """The smallest n at which the chance reaches p: ln(1 - p) / ln(1 - p_z), rounded up; 1 at least."""
    with np.errstate(divide="ignore"):
        wanted = np.log1p(-p) / np.log1p(-np.exp(log_p))
    return np.maximum(np.ceil(wanted - 1e-9), 1)


def _share(chances: np.ndarray, p: float) -> float:
    finite = chances[np.isfinite(chances)]
    return float((finite >= p).mean()) if len(finite) else float("nan")
