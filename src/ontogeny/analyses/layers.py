"""Which layers move first: early ones, late ones, or all at once."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.documents import means_by_document
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import bootstrap_weights
from ontogeny.statistics.permutations import TIE, min_p, permutation_p

LEAST_LAYERS = 5
"""With a final effect: the orders of four give no p below 2 / 4! = 0.083."""
LEAST_CHECKPOINTS = 4
LEAST_DOCUMENTS = 5
"""In each group."""
BOOTSTRAPS = 1000
_SAME = 1e-9
"""Times of layers that differ by less do so by rounding."""


class Layers(PassageAnalysis):
    """Time to half of each layer's final effect, and how it goes with depth.

    Effect: mean change of compression since checkpoint 0, trained minus novel. `half_epoch`: where it first reaches
    half of its value at the last checkpoint, interpolated over log(1 + epoch). (The time of first significance would
    depend on the size of the effect and of the sample.) Only layers whose final effect is significant by min-P are
    timed. `rank_correlation` of time with depth (Kendall's tau-b): below 0 late layers move first. Its interval is a
    bootstrap over documents; its p permutes the layers (all orders up to 7 layers).
    """

    order: ClassVar[float] = 60

    permutations: int = Field(default=2000, ge=99)
    """Of labels and of layers."""

    def analyze(self, run: RecordedRun) -> Result:
        """Time every layer."""
        return self.time(self.passages(run))

    def time(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        random = np.random.default_rng(self.seed)
        change = means_by_document(table.score - table.score[:1], table.document)
        trained = means_by_document(table.trained.astype(float), table.document) > 0.5
        sizes = int(trained.sum()), int((~trained).sum())
        numbers = {"layer": table.layer, "epoch": table.epoch, "n": sizes}
        if lack := _lack(sizes, len(table.epoch)):
            return Result(verdict=f"not assessable: lacks {lack}", sentences=(), reading=_READING, numbers=numbers)
        whole = np.isfinite(change).all(axis=(0, 2))
        if not whole.any():
            lack = "not assessable: compression is no number at some checkpoint in every layer"
            return Result(verdict=lack, sentences=(), reading=_READING, numbers=numbers)
        p = np.full(len(whole), np.nan)
        p[whole] = min_p(change[-1, whole], trained, random, self.permutations)
        timed = np.flatnonzero(p < 0.05)
        x = np.log1p(table.epoch)

        groups = [change[:, timed][..., inside] for inside in (trained, ~trained)]

        def times(weights: list[np.ndarray]) -> np.ndarray:
            """Of the effect where documents have these weights, by group [..., documents]: [..., timed layers]."""
            first, second = (np.tensordot(w, group, (-1, -1)) for w, group in zip(weights, groups, strict=True))
            return half_time(x, np.moveaxis(first - second, -2, -1))

        half = times([np.full(n, 1 / n) for n in sizes])
        half_epoch = np.full(len(table.layer), np.nan)
        half_epoch[timed] = np.expm1(half)
        numbers |= {"half_epoch": half_epoch, "p_final_effect": p}
        sentences = [
            f"block {b}: half of its final effect by epoch {half_epoch[i]:.2g}"
            if np.isfinite(half_epoch[i])
            else f"block {b}: left out, since compression is no number there at some checkpoint"
            if not whole[i]
            else f"block {b}: no final effect to time (p = {p[i]:.3f} corrected)"
            for i, b in enumerate(table.layer)
        ]
        if len(timed) < LEAST_LAYERS:
            remedy = "train longer, or look at more documents"
            lack = shortage(LEAST_LAYERS, "layer", len(timed), remedy, "with a significant final effect")
            verdict = f"not assessable: lacks {lack}"
            return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)
        tau = float(rank_correlation_with_depth(half))
        if np.isnan(tau):
            verdict = "no order: all layers reach half of their final effect at the same time"
            return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)
        drawn = rank_correlation_with_depth(times([bootstrap_weights(n, random, BOOTSTRAPS) for n in sizes]))
        low, high = (float(end) for end in np.nanquantile(drawn, [0.025, 0.975]))  # NaN: two layers at no time
        p_order = permuted_order(half, random, self.permutations)
        numbers |= {"rank_correlation": tau, "low": low, "high": high, "p": p_order}
        if p_order < 0.05 and low * high > 0:
            verdict = "late layers move first" if tau < 0 else "early layers move first"
        else:
            verdict = "no order: as far as can be told, layers move at the same time"
        sentences.append(
            f"time to half against depth: tau = {tau:+.2f}, 95% {low:+.2f} to {high:+.2f}, p = {p_order:.4f} "
            f"({len(timed)} layers, n = {sizes[0]} and {sizes[1]} documents)"
        )
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)


def _lack(sizes: tuple[int, int], checkpoints: int) -> str:
    """What is too little, ready to print; `sizes`: trained and novel documents. Empty if nothing is."""
    if checkpoints < LEAST_CHECKPOINTS:
        return shortage(LEAST_CHECKPOINTS, "checkpoint", checkpoints, f"measure at {LEAST_CHECKPOINTS} or more")
    if min(sizes) < LEAST_DOCUMENTS:
        which = "trained" if sizes[0] < LEAST_DOCUMENTS else "novel"
        remedy = f"take the {which} probe set from more documents"
        return shortage(LEAST_DOCUMENTS, f"{which} document", min(sizes), remedy)
    return ""


def half_time(x: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """The first x at which each effect reaches half of its last value, interpolated: float64 [...].

    `x` [C], `effect` [..., C], which begins at 0. NaN where the last value is 0.
    """
    last = effect[..., -1:]
    share = np.divide(effect, last, out=np.full(effect.shape, np.nan), where=last != 0)
    reached = share >= 0.5
    at = np.maximum(reached.argmax(axis=-1), 1)
    after, before = (np.take_along_axis(share, (at - back)[..., None], axis=-1)[..., 0] for back in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        time = x[at - 1] + (0.5 - before) / (after - before) * (x[at] - x[at - 1])
    time = np.where(reached[..., 0], x[0], time)
    return np.asarray(np.where(reached.any(axis=-1), time, np.nan))


def rank_correlation_with_depth(time: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of the times of layers [..., L] with their depth: float64 [...]; NaN where one is no number.

    Of all pairs of layers, those in order minus those in reverse, over sqrt(pairs x pairs that are not tied) (Kendall
    1945; depths are never tied). The same as `scipy.stats.kendalltau`, many at once.
    """
    first, second = np.triu_indices(time.shape[-1], 1)
    later = time[..., second] - time[..., first]
    signs = np.sign(np.where(np.abs(later) < _SAME, 0, later))
    scale = np.sqrt(len(first) * np.abs(signs).sum(axis=-1))
    return np.asarray(np.divide(signs.sum(axis=-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0))


def permuted_order(time: np.ndarray, random: np.random.Generator, draws: int) -> float:
    """Two-sided p of tau with depth, over all orders of up to 7 layers, else over random ones; 1 without a tau."""
    from itertools import permutations

    observed = abs(float(rank_correlation_with_depth(time)))
    if np.isnan(observed):
        return 1.0
    if len(time) <= 7:
        every = np.abs(rank_correlation_with_depth(np.array(list(permutations(time)))))
        return float(np.mean(every >= observed - TIE))
    shuffled = np.array([random.permutation(time) for _ in range(draws)])
    return float(permutation_p(observed, np.abs(rank_correlation_with_depth(shuffled))))


_READING = (
    "Half of the final effect is a matter of time alone; how large the effect is, and how many documents there are, do "
    "not move it. Layers of one model are not independent, so an order of few layers is weak evidence: of "
    "five, only the two complete ones have a p below 0.05."
)
