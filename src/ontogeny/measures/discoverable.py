"""Probability that sampling writes a passage's continuation, and the number of samples that takes."""

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, dataset, numpy_of, variable

if TYPE_CHECKING:
    from torch import Tensor


class Discoverable(StreamMeasure):
    """(n, p)-discoverable extraction (Hayes et al., "Measuring memorization through probabilistic discoverable
    extraction", 2024): the probability that at least one of n samples after the first k tokens is the true m tokens.

    p_z is the probability that the sampler (temperature, then top-k) writes exactly those m tokens. Nothing is sampled:
    log p_z is the sum of their log-probabilities in the teacher-forced pass, and the probability of at least one in n
    is 1 - (1 - p_z)^n = -expm1(n log1p(-p_z)). Per passage: `log_p` = log p_z in nats, -infinity if a token is not
    among the top k; `samples_for_p`, the n at which the probability reaches `p`, infinity in the same case; and
    `discovered`, the probability, on the axis `n`. Per probe set: `share` on the axis `n`, the share of passages whose
    probability is at least `p`. NaN for passages of fewer than k + m tokens. What stands before a text (BOS) is given
    and does not count.

    It is a measure apart from `extraction` because it needs all logits of the suffix, and that one only ranks.
    """

    prefix_tokens: int = Field(default=32, ge=1)
    """k: tokens given."""
    suffix_tokens: int = Field(default=32, ge=1)
    """m: tokens to write."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits."""
    top_k: int | None = Field(default=40, ge=1)
    """Number of likeliest tokens to sample from; null for all."""
    n: tuple[int, ...] = Field(default=(1, 10, 100, 1000), min_length=1)
    """Numbers of samples."""
    p: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a passage counts as discoverable."""

    needs: ClassVar[frozenset[Need]] = frozenset({"logits"})
    cost: ClassVar[str] = "all logits of the shared pass at once: tokens x vocabulary x 4 bytes per forward batch"

    def look(self, context: Context) -> Look:
        """Lay out the passages."""
        return _DiscoverableLook(self, FlatAxes.of(context, self.probes))


class _DiscoverableLook:
    def __init__(self, measure: Discoverable, axes: FlatAxes) -> None:
        self.measure = measure
        self.axes = axes
        self.log_p = np.full(axes.passages, np.nan)

    def see(self, batch: ForwardBatch) -> None:
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        before = self.axes.bos_tokens[batch.probe][batch.rows]
        rows = np.flatnonzero(self.axes.lengths[batch.probe][batch.rows] - before >= k + m)
        log_p = np.full(len(batch.rows), np.nan)
        if len(rows):
            places = (before[rows] + k)[:, None] + np.arange(m)
            logits = batch.logits[rows[:, None], places - 1]
            targets = batch.input_ids[rows[:, None], places]
            log_p_of_tokens = sampler_log_probability(logits, targets, self.measure.temperature, self.measure.top_k)
            log_p[rows] = numpy_of(log_p_of_tokens.sum(dim=1))
        self.axes.put_passages(batch, log_p, self.log_p)

    def result(self) -> Observation:
        counts = np.array(self.measure.n, dtype=np.int64)
        probability = probability_in(self.log_p, counts)
        by_probe = [probability[part] for part in self.axes.probe_slices()]
        shares = [[_share(of_probe[:, i], self.measure.p) for i in range(len(counts))] for of_probe in by_probe]
        long_enough = [int(np.isfinite(of_probe[:, 0]).sum()) for of_probe in by_probe]
        needed = samples_for(self.log_p, self.measure.p)
        variables = {
            "log_p": variable("passage", self.log_p, "nats", "log-probability that the sampler writes the suffix"),
            "samples_for_p": variable("passage", needed, "samples", "samples to reach p"),
            "discovered": variable(("passage", "n"), probability, "1", "probability of the suffix in n samples"),
            "share": variable(("probe", "n"), shares, "1", "share of passages whose probability is at least p"),
            "passages": variable("probe", long_enough, "passages", "passages long enough"),
        }
        coordinates = (self.axes.probe_coordinates(), self.axes.passage_coordinates(), {"n": counts})
        sampler = f"temperature {self.measure.temperature:g}, top-k {self.measure.top_k or 'all'}"
        return Observation(arrays=dataset(variables, *coordinates, sampler=sampler, p=self.measure.p))


def sampler_log_probability(logits: "Tensor", targets: "Tensor", temperature: float, top_k: int | None) -> "Tensor":
    """log p of each target under the sampler, float64 [...]: -infinity outside the top k (ties with the k-th are in).

    `logits` [..., V], `targets` int64 [...].
    """
    import torch

    scaled = logits.double() / temperature
    target_logits = scaled.gather(-1, targets[..., None])[..., 0]
    if top_k is None or top_k >= scaled.shape[-1]:
        return target_logits - torch.logsumexp(scaled, dim=-1)
    best = scaled.topk(top_k, dim=-1).values
    inside_top = target_logits >= best[..., -1]
    return torch.where(inside_top, target_logits - torch.logsumexp(best, dim=-1), -math.inf)


def probability_in(log_p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """1 - (1 - p)^n, float64 [passages, n], accurate also where p is tiny or 1."""
    with np.errstate(divide="ignore"):
        log_missed = np.log1p(-np.exp(log_p))
    probability: np.ndarray = -np.expm1(n[None] * log_missed[:, None])
    return probability


def samples_for(log_p: np.ndarray, p: float) -> np.ndarray:
    """The smallest n at which the probability reaches p: ln(1 - p) / ln(1 - p_z), rounded up; at least 1."""
    with np.errstate(divide="ignore"):
        wanted = np.log1p(-p) / np.log1p(-np.exp(log_p))
    # 1e-9: a ratio that is an integer up to rounding is not rounded up to the next one.
    return np.maximum(np.ceil(wanted - 1e-9), 1)


def _share(probabilities: np.ndarray, p: float) -> float:
    finite = probabilities[np.isfinite(probabilities)]
    return float((finite >= p).mean()) if len(finite) else float("nan")
