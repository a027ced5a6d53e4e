"""Do layers compress what is memorized, or merely what was trained on? Three groups, and a placebo before training."""

from typing import Any

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics import by_document as stats

LEVEL = 0.05
LEAST = 5
"""Documents in a group, below which nothing is claimed."""


class Groups(PassageAnalysis):
    """Compression of memorized, of trained but not memorized, and of novel passages, against checkpoint 0.

    Of every passage, layer and checkpoint: the difference from checkpoint 0, which training has not touched (the
    placebo). Passages of one document count as one. Two contrasts of these differences, at every layer and checkpoint:
    `exposure`, trained minus novel, which is random assignment and so may be read causally; `memorization`, memorized
    minus trained but not memorized, which is not: what is easy to memorize may be compressed otherwise. Each with its
    effect, document bootstrap, Welch's t, point-biserial r, and p corrected over all layers and checkpoints by max-T
    permutation of the labels, times the number of contrasts (Bonferroni). A passage's group is that of one checkpoint
    (`status_step`), so that groups do not change over time: the last one, unless fewer than five documents are then in
    either of the trained groups; then the one whose smaller group is largest.

    The `best` layer of a contrast is chosen at the last checkpoint on one half of the documents, and reported on the
    other.
    """

    permutations: int = Field(default=2000, ge=99)
    """Of labels, for the corrected p."""

    def analyze(self, run: RecordedRun) -> Result:
        """Compare the groups."""
        return self.compare(self.passages(run))

    def compare(self, table: Passages) -> Result:
        """The same, from passages laid side by side."""
        random = np.random.default_rng(self.seed)
        at, memorized = status(table)
        change = table.score - table.score[:1]
        documents = _Documents(table, change, memorized)
        contrasts = {
            "exposure": self._contrast(documents.change, documents.trained, documents.novel, random),
            "memorization": self._contrast(documents.change, documents.memorized, documents.unmemorized, random),
        }
        known = [one for one in contrasts.values() if "lacks" not in one]
        for one in known:
            one["p_corrected"] = np.minimum(one["p_corrected"] * len(known), 1)
        groups = {
            "memorized": documents.memorized,
            "trained, not memorized": documents.unmemorized,
            "trained": documents.trained,
            "novel": documents.novel,
        }
        means = {
            name: np.nanmean(documents.change[..., chosen], axis=-1) for name, chosen in groups.items() if chosen.any()
        }
        verdict, kind = _verdict(contrasts)
        numbers = {
            "verdict": kind,
            "score": self.score,
            "status_step": int(table.step[at]),
            "step": table.step,
            "epoch": table.epoch,
            "layer": table.layer,
            "contrasts": contrasts,
            "means": means,
            "documents": {name: int(chosen.sum()) for name, chosen in groups.items()},
        }
        return Result(verdict=verdict, sentences=tuple(_sentences(contrasts, table)), reading=_READING, numbers=numbers)

    def _contrast(
        self, change: np.ndarray, one: np.ndarray, other: np.ndarray, random: np.random.Generator
    ) -> dict[str, Any]:
        """Both labels are bool [documents]; `change` is [checkpoints, layers, documents]."""
        sizes = int(one.sum()), int(other.sum())
        if min(sizes) < LEAST:
            return {"n": sizes, "lacks": f"{LEAST} documents in each group, it has {sizes[0]} and {sizes[1]}"}
        both = one | other
        rows = change[1:][..., both].reshape(-1, both.sum())
        label = one[both]
        p = stats.max_t(rows, label, random, self.permutations).reshape(change.shape[0] - 1, -1)
        every = [[stats.effect(layer[one], layer[other], random) for layer in checkpoint] for checkpoint in change[1:]]
        last = change[-1]
        choose, report = stats.halves([np.flatnonzero(one), np.flatnonzero(other)], random)
        of = {name: np.isin(np.arange(len(one)), part) for name, part in (("choose", choose), ("report", report))}
        t = stats.welch(last[:, one & of["choose"]], last[:, other & of["choose"]])
        best = int(np.abs(t).argmax())
        found = stats.effect(last[best, one & of["report"]], last[best, other & of["report"]], random)
        fields = ("value", "low", "high", "t", "p", "r")
        return {
            "n": sizes,
            **{key: np.array([[getattr(e, key) for e in row] for row in every]) for key in fields},
            "p_corrected": p,
            "best_layer": best,
            "best_on_other_half": found,
        }


class _Documents:
    """Changes per document, and which group each document is of: bool [documents]."""

    def __init__(self, table: Passages, change: np.ndarray, memorized: np.ndarray) -> None:
        self.change = stats.by_document(change, table.document)
        self.trained = stats.by_document(table.trained.astype(float), table.document) > 0.5
        self.novel = ~self.trained
        share = stats.by_document(np.where(table.trained, memorized, np.nan), table.document)
        self.memorized = self.trained & (share >= 0.5)
        self.unmemorized = self.trained & (share < 0.5)


def status(table: Passages) -> tuple[int, np.ndarray]:
    """The checkpoint that decides who counts as memorized, and the passages' status there: float [P]."""
    shares = stats.by_document(np.where(table.trained, table.memorized, np.nan), table.document)
    smaller = np.minimum((shares >= 0.5).sum(axis=1), (shares < 0.5).sum(axis=1))
    at = len(table.step) - 1
    if smaller[at] < LEAST and smaller.max() > smaller[at]:
        at = int(len(smaller) - 1 - smaller[::-1].argmax())
    return at, table.memorized[at]


def _verdict(contrasts: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """What the contrasts say together, in a sentence and in a word."""
    found = {name: "lacks" not in one and bool((one["p_corrected"] < LEVEL).any()) for name, one in contrasts.items()}
    lacking = contrasts["memorization"].get("lacks")
    if found["memorization"]:
        return (
            "signs of memorization: memorized passages changed otherwise than passages trained on as much",
            "memorization",
        )
    if found["exposure"]:
        more = f"; memorization itself is not assessable: lacks {lacking}" if lacking else ""
        return (
            f"signs of training exposure{'' if lacking else ', not of memorization'}: trained passages changed "
            f"otherwise than novel ones{more}",
            "exposure",
        )
    if "lacks" in contrasts["exposure"]:
        return f"not assessable: lacks {contrasts['exposure']['lacks']}", "not assessable"
    return "neither: no layer changed otherwise for trained or for memorized passages", "neither"


def _sentences(contrasts: dict[str, dict[str, Any]], table: Passages) -> list[str]:
    contrasted = sum("lacks" not in one for one in contrasts.values())
    words = {"exposure": ("trained", "novel"), "memorization": ("memorized", "trained, not memorized")}
    lines = []
    for name, one in contrasts.items():
        left, right = words[name]
        if "lacks" in one:
            lines.append(f"{left} against {right}: not assessable, lacks {one['lacks']}")
            continue
        at, layer = np.unravel_index(int(np.abs(one["t"]).argmax()), one["t"].shape)
        lines.append(
            f"{left} against {right} (n = {one['n'][0]} and {one['n'][1]} documents): largest at block "
            f"{table.layer[layer]}, epoch {table.epoch[at + 1]:g}: {one['value'][at, layer]:+.3f} nats, 95% "
            f"{one['low'][at, layer]:+.3f} to {one['high'][at, layer]:+.3f}, r = {one['r'][at, layer]:.2f}, p = "
            f"{one['p_corrected'][at, layer]:.4f} corrected over {one['t'].size} tests and {contrasted} contrasts; "
            f"{int((one['p_corrected'] < LEVEL).sum())} of them below {LEVEL}"
        )
        best = one["best_on_other_half"]
        lines.append(
            f"block {table.layer[one['best_layer']]}, chosen on half of the documents, on the other half (n = "
            f"{best.n[0]} and {best.n[1]}): {best.value:+.3f} nats, 95% {best.low:+.3f} to {best.high:+.3f}, "
            f"p = {best.p:.4f}"
        )
    return lines


_READING = (
    "Each number is a difference of differences: how much more one group's compression changed since checkpoint 0 than "
    "the other's. A positive one says that the layer draws the group's neighbourhoods closer together. Which passages "
    "are trained on is drawn at random, so `exposure` is an effect of training. Which of them are memorized is not, so "
    "`memorization` may also be what made them easy to memorize. All documents went through one model: the intervals "
    "speak of passages in this run, and other seeds may differ."
)
