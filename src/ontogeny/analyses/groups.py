"""Do layers compress what is memorized, or merely what was trained on? Three groups, and a placebo before training."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.corrections import bonferroni
from ontogeny.statistics.documents import halves_of_groups, means_by_document
from ontogeny.statistics.estimates import counted, shortage
from ontogeny.statistics.permutations import min_p
from ontogeny.statistics.two_samples import GroupDifference, group_difference, welch_p_by_labels

LEVEL = 0.05
LEAST = 5
"""Documents in a group, below which nothing is claimed."""
LEAST_OF_HALF = 4
"""Documents of a group in the half that reports, below which it has no interval: the spread of fewer is not known."""

Contrast = dict[str, Any]
"""Numbers of one contrast by name: of every later checkpoint and layer, or what it `lacks`."""


class Groups(PassageAnalysis):
    """Compression of memorized, of trained but not memorized, and of novel passages, against checkpoint 0.

    Of every passage, layer and checkpoint: the difference from checkpoint 0, which training has not touched (the
    placebo). Passages of one document count as one. Two contrasts of these differences, at every layer and checkpoint:
    `exposure`, trained minus novel, which is random assignment and so may be read causally; `memorization`, memorized
    minus trained but not memorized, which is not: what is easy to memorize may be compressed otherwise. Each with its
    effect, its interval by Welch's t, point-biserial r, and p corrected over all layers and checkpoints by min-P
    permutation of the labels, times the number of contrasts (Bonferroni). A passage's group is that of one checkpoint
    (`status_step`), so that groups do not change over time: the last one, unless fewer than five documents are then in
    either of the trained groups; then the one whose smaller group is largest.

    The `best` layer of a contrast is chosen at the last checkpoint on one half of the documents, and reported on the
    other.
    """

    order: ClassVar[float] = 10

    permutations: int = Field(default=2000, ge=99)
    """Of labels, for the corrected p."""

    def analyze(self, run: RecordedRun) -> Result:
        """Compare the groups."""
        return self.compare(self.passages(run))

    def compare(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        random = np.random.default_rng(self.seed)
        at, memorized = status(table)
        documents = _Documents(table, memorized)
        sizes = {name: int(inside.sum()) for name, inside in documents.groups.items()}
        contrasts = {
            "exposure": self._contrast(documents, documents.trained, documents.novel, random),
            "memorization": self._contrast(documents, documents.memorized, documents.unmemorized, random),
        }
        for name, contrast in contrasts.items():
            if min(contrast["n"]) < LEAST:
                contrast["lacks"] = _too_few(name, sizes)
            elif len(table.step) < 2:
                contrast["lacks"] = f"lacks {shortage(2, 'checkpoint', len(table.step), 'measure at 2 or more')}"
            elif not documents.whole_layers.any():
                contrast["lacks"] = "compression is no number at some checkpoint in every layer"
        assessable = [contrast for contrast in contrasts.values() if "lacks" not in contrast]
        for contrast in assessable:
            contrast["p_corrected"] = bonferroni(contrast["p_corrected"], len(assessable))
        groups = documents.groups
        verdict, kind = _verdict(contrasts)
        numbers = {
            "verdict": kind,
            "score": self.score,
            "status_step": int(table.step[at]),
            "step": table.step,
            "epoch": table.epoch,
            "layer": table.layer,
            "contrasts": contrasts,
            "means": {name: _means(documents.change[..., inside]) for name, inside in groups.items() if inside.any()},
            "documents": sizes,
        }
        sentences = [*_sentences(contrasts, table), *_left_out(documents, table)]
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)

    def _contrast(
        self, documents: "_Documents", first: np.ndarray, second: np.ndarray, random: np.random.Generator
    ) -> Contrast:
        """First group minus second, both bool [documents]. Without numbers if a group is too small."""
        sizes = int(first.sum()), int(second.sum())
        if min(sizes) < LEAST or len(documents.change) < 2 or not documents.whole_layers.any():
            return {"n": sizes}
        both, later, last = first | second, documents.change[1:], documents.change[-1]
        whole = documents.whole_layers
        p = np.full(later.shape[:2], np.nan)
        rows = later[:, whole][..., both].reshape(-1, both.sum())
        p[:, whole] = min_p(rows, first[both], random, self.permutations).reshape(len(later), -1)
        differences = [[group_difference(row[first], row[second]) for row in layers] for layers in later]
        choose, report = halves_of_groups([np.flatnonzero(first), np.flatnonzero(second)], random)
        choosing, reporting = (np.isin(np.arange(len(first)), half) for half in (choose, report))
        chosen = welch_p_by_labels(last[whole][:, both & choosing], first[None, both & choosing])[0].argmin()
        best = int(np.flatnonzero(whole)[chosen])
        fields = ("value", "low", "high", "t", "p", "r")
        return {
            "n": sizes,
            **{key: np.array([[getattr(cell, key) for cell in row] for row in differences]) for key in fields},
            "p_corrected": p,
            "best_layer": best,
            "best_on_other_half": _reported(last[best, first & reporting], last[best, second & reporting]),
        }


def _means(change: np.ndarray) -> np.ndarray:
    """Of documents [..., D] that are numbers; NaN where none is."""
    known = np.isfinite(change)
    count = known.sum(axis=-1)
    return np.where(known, change, 0).sum(axis=-1) / np.where(count, count, np.nan)


class _Documents:
    """Change of compression since checkpoint 0, [C, layers, documents]; documents of each group, bool [documents]."""

    def __init__(self, table: Passages, memorized: np.ndarray) -> None:
        self.change = means_by_document(table.score - table.score[:1], table.document)
        measured = np.isfinite(self.change).any(axis=(0, 1))
        self.whole_layers = np.isfinite(self.change[..., measured]).all(axis=(0, 2)) & measured.any()
        """bool [layers]: measured at every checkpoint, of every document that was measured at all."""
        trained = means_by_document(table.trained.astype(float), table.document) > 0.5
        self.trained, self.novel = trained & measured, ~trained & measured
        share = means_by_document(np.where(table.trained, memorized, np.nan), table.document)
        self.memorized = self.trained & (share >= 0.5)
        self.unmemorized = self.trained & (share < 0.5)

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """By the name that is shown."""
        return {
            "memorized": self.memorized,
            "trained, not memorized": self.unmemorized,
            "trained": self.trained,
            "novel": self.novel,
        }


def _reported(first: np.ndarray, second: np.ndarray) -> GroupDifference:
    """Without an interval where a group has too few documents for its spread to be known."""
    difference = group_difference(first, second)
    if min(difference.n) >= LEAST_OF_HALF:
        return difference
    nan = float("nan")
    return replace(difference, low=nan, high=nan, t=nan, p=nan)


def _too_few(contrast: str, sizes: dict[str, int]) -> str:
    """Why a contrast is not assessable, ready to print."""
    trained, novel, memorized = sizes["trained"], sizes["novel"], sizes["memorized"]
    if contrast == "exposure":
        return (
            f"{LEAST} trained and {LEAST} novel documents are needed, there are {trained} and {novel}: take both "
            "probe sets from more documents"
        )
    if memorized in (0, trained):
        remedy = "look earlier" if memorized else "train longer"
        what = "everything" if memorized else "nothing"
        return f"{what} was memorized (of {counted(trained, 'trained document')}): {remedy}"
    return (
        f"{LEAST} memorized documents and {LEAST} trained ones that are not are needed, there are {memorized} and "
        f"{trained - memorized}: train on more documents"
    )


def _left_out(documents: "_Documents", table: Passages) -> list[str]:
    lacking = [str(block) for block in table.layer[~documents.whole_layers]]
    if not lacking:
        return []
    return [f"left out, since compression is no number there at some checkpoint: block {', '.join(lacking)}"]


def status(table: Passages) -> tuple[int, np.ndarray]:
    """The checkpoint that decides who counts as memorized, and the passages' status there: float [P]."""
    shares = means_by_document(np.where(table.trained, table.memorized, np.nan), table.document)
    smaller = np.minimum((shares >= 0.5).sum(axis=1), (shares < 0.5).sum(axis=1))
    at = len(table.step) - 1
    if smaller[at] < LEAST and smaller.max() > smaller[at]:
        at = int(len(smaller) - 1 - smaller[::-1].argmax())
    return at, table.memorized[at]


def _verdict(contrasts: dict[str, Contrast]) -> tuple[str, str]:
    """What the contrasts say together, in a sentence and in a word."""
    sure = {
        name: "lacks" not in contrast and bool((contrast["p_corrected"] < LEVEL).any())
        for name, contrast in contrasts.items()
    }
    lacking = contrasts["memorization"].get("lacks")
    if sure["memorization"]:
        sentence = "signs of memorization: memorized passages changed otherwise than passages trained on as much"
        return sentence, "memorization"
    if sure["exposure"]:
        more = f"; memorization itself is not assessable: {lacking}" if lacking else ""
        sentence = (
            f"signs of training exposure{'' if lacking else ', not of memorization'}: trained passages changed "
            f"otherwise than novel ones{more}"
        )
        return sentence, "exposure"
    if "lacks" in contrasts["exposure"]:
        return f"not assessable: {contrasts['exposure']['lacks']}", "not assessable"
    if lacking:
        none = "no sign of training exposure: no layer changed otherwise for trained than for novel passages"
        return f"{none}; memorization is not assessable: {lacking}", "no exposure effect"
    return "neither: no layer changed otherwise for trained or for memorized passages", "neither"


def _sentences(contrasts: dict[str, Contrast], table: Passages) -> list[str]:
    contrasted = sum("lacks" not in contrast for contrast in contrasts.values())
    words = {"exposure": "trained against novel", "memorization": "memorized against trained, not memorized"}
    lines = []
    for name, contrast in contrasts.items():
        if "lacks" in contrast:
            lines.append(f"{words[name]}: not assessable: {contrast['lacks']}")
            continue
        tests = int(np.isfinite(contrast["p_corrected"]).sum())
        tested = np.where(np.isfinite(contrast["p_corrected"]), np.abs(contrast["t"]), -np.inf)
        at, layer = np.unravel_index(int(tested.argmax()), tested.shape)
        over = f"{counted(tests, 'test')} and {counted(contrasted, 'contrast')}"
        largest = {key: contrast[key][at, layer] for key in ("value", "low", "high", "r", "p_corrected")}
        lines.append(
            f"{words[name]} (n = {contrast['n'][0]} and {contrast['n'][1]} documents): largest at block "
            f"{table.layer[layer]}, epoch {table.epoch[at + 1]:g}: {largest['value']:+.3f} nats, 95% "
            f"{largest['low']:+.3f} to {largest['high']:+.3f}{_r(largest['r'])}, p = "
            f"{largest['p_corrected']:.4f} corrected over {over}; "
            f"{int((contrast['p_corrected'] < LEVEL).sum())} of them below {LEVEL}"
        )
        best = contrast["best_on_other_half"]
        where = f"block {table.layer[contrast['best_layer']]}, chosen on half of the documents, on the other half"
        if np.isnan(best.low):
            lines.append(
                f"{where}: {best.value:+.3f} nats, no interval: {LEAST_OF_HALF} documents of each group are needed, "
                f"and {best.n[0]} and {best.n[1]} are there: take the probe sets from more documents"
            )
            continue
        lines.append(
            f"{where} (n = {best.n[0]} and {best.n[1]}): {best.value:+.3f} nats, 95% {best.low:+.3f} to "
            f"{best.high:+.3f}, {_p(best.p)}"
        )
    return lines


def _r(r: float) -> str:
    """The point-biserial correlation, where something varies."""
    return f", r = {r:.2f}" if np.isfinite(r) else ""


def _p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


_READING = (
    "Each number is a difference of differences: how much more one group's compression changed since checkpoint 0 than "
    "the other's. A positive one says that the layer draws the group's neighbourhoods closer together. Which passages "
    "are trained on is drawn at random, so `exposure` is an effect of training. Which of them are memorized is not, so "
    "`memorization` may also be what made them easy to memorize. All documents went through one model: the intervals "
    "speak of passages in this run, and other seeds may differ."
)
