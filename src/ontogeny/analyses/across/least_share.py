"""How much replay is enough: the smallest share that keeps a loss within a bound."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from ontogeny.analyses.across._words import ADD_THEM, BOTH_TEXTS, NO_CLAIM, block
from ontogeny.analyses.recorded.loss_curves import Outcome, outcomes, replayed_share, results
from ontogeny.core.analyses import LEAST_SEEDS, AnalysisAcross, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.intervals import t_interval
from ontogeny.statistics.isotonic import non_increasing

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRuns


class LeastReplay(AnalysisAcross):
    """The smallest replayed share that keeps the general loss within a bound, for each combination of other settings.

    Between two shares that were run only the gap is known (`least_share`), with 95% t intervals over seeds.
    """

    section: ClassVar[str] = "forgetting"

    bound: float = Field(default=0.02, ge=0)
    """Accepted rise of the general loss from first to last checkpoint, as a share of the first."""

    def analyze(self, runs: "ComparedRuns") -> Result:
        """Find it. Raises StoreError unless the runs differ in data.replay.<corpus>.share and have both texts."""
        return self.judge(outcomes(runs))

    def judge(self, table: Sequence[Outcome]) -> Result:
        """The same from what the runs came to."""
        share, rows = replayed_share(table), results(table)
        if share is None:
            raise StoreError("lacks different replayed shares: vary data.replay.<corpus>.share")
        if not {"new decay", "general relative"} <= set(rows):
            raise StoreError(f"lacks {BOTH_TEXTS}: {ADD_THEM}")
        shares = pd.to_numeric(rows[share], errors="coerce")
        if shares.isna().any():
            raise StoreError(f"lacks a number for {share} in every run: leave out runs without")
        others = [name for name in table[0].levels if name != share]
        answers: list[tuple[str, LeastShare, float]] = []
        lines = []
        for cell, part in rows.groupby(others, sort=False) if others else [((), rows)]:
            by_share = dict(list(part.groupby(shares[part.index])))
            if len(by_share) < 2 or len({len(runs) for runs in by_share.values()}) > 1:
                continue
            rises = np.array([runs["general relative"].to_numpy() - 1 for runs in by_share.values()])
            answer = least_share(list(by_share), rises, self.bound)
            decay = float(next(iter(by_share.values()))["new decay"].mean())
            where = ", ".join(f"{name}={value}" for name, value in zip(others, cell, strict=True)) or "all runs"
            answers.append((where, answer, decay))
            lines.append(f"{where}: {answer.words}; new text falls by {decay:.3%} a step at {min(by_share):g}")
        if not answers:
            raise StoreError(
                "lacks two replayed shares with the same number of seeds and equal other settings: sweep them together"
            )
        first = f"{answers[0][1].words}" if len(answers) == 1 else f"for {len(answers)} combinations of other settings"
        return Result(
            verdict=f"the smallest {share} with general text at most {self.bound:.0%} up: {first}",
            sentences=(block(f"The smallest {share} with general text at most {self.bound:.0%} up at the end", lines),),
            reading=_READING,
            numbers={
                "share": share,
                "bound": self.bound,
                "answers": [{"where": where, **asdict(answer), "new_decay": decay} for where, answer, decay in answers],
            },
        )


_READING = (
    "More replay is taken never to harm. How the rise falls between two shares is not known, so the answer is the gap "
    "between them; the point on a straight line is a guess, far off where the curve bends."
)


@dataclass(frozen=True, kw_only=True)
class LeastShare:
    """The smallest sufficient share, known up to the gap between two shares that were tested."""

    between: tuple[float, float]
    """The largest tested share at which the mean lies above the bound, and the smallest from which on it does not.
    NaN as the first: it lies above at none; as the second: at all."""
    sure: tuple[float, float]
    """The same for the ends of the 95% t intervals over seeds: at the first the whole interval lies above the bound, at
    the second it lies within. NaN, too, with one seed."""
    line: float
    """Where a straight line between both meets the bound: a guess. NaN: nowhere."""
    tested: tuple[float, ...]
    seeds: int
    why_not: str = ""
    """Why nothing can be said; empty if something can."""

    @property
    def words(self) -> str:
        """In words."""
        if self.why_not:
            return f"not assessable: {self.why_not}"
        if np.isnan(self.between[1]):
            text = f"none of those tested (up to {self.tested[-1]:g})"
            if self.seeds > 1 and self.sure[0] != self.tested[-1]:
                text += f"; by the interval it might be {_words(self.sure)}"
        else:
            text = _words(self.between)
            text += f" (95%: {_words(self.sure)})" if self.seeds > 1 else ""
            text += f"; on a straight line {self.line:.3g}" if self.line not in self.tested else ""
        if self.seeds < 2:
            return f"{text}; one seed: no interval, no claim"
        return text if self.seeds >= LEAST_SEEDS else f"{text}; {NO_CLAIM}"


def _words(ends: tuple[float, float]) -> str:
    low, high = ends
    if np.isnan(low):
        return "not known" if np.isnan(high) else f"at most {high:g}"
    return f"more than {low:g}" if np.isnan(high) else f"between {low:g} and {high:g}"


def least_share(shares: Sequence[float], rises: np.ndarray, bound: float) -> LeastShare:
    """The smallest share from which on the mean rise is within the bound. `shares` rise; `rises` float [shares, seeds].

    More replay is taken never to harm: means, and the ends of their intervals, are made non-increasing by pooling
    adjacent violators (Ayer et al. 1955). How the rise falls between two shares is not known, so the answer is the gap;
    a straight line would be far off where the curve bends.
    """
    rises = np.asarray(rises, dtype=np.float64)
    tested, seeds, nan = tuple(float(share) for share in shares), rises.shape[1], float("nan")
    broken = [share for share, row in zip(tested, rises, strict=True) if not np.isfinite(row).all()]
    if broken:
        where = ", ".join(f"{share:g}" for share in broken)
        return LeastShare(
            between=(nan, nan),
            sure=(nan, nan),
            line=nan,
            tested=tested,
            seeds=seeds,
            why_not=f"a loss is not finite at {where}: leave out what diverged",
        )
    ends = np.array([t_interval(row)[:3] for row in rises])
    mean = non_increasing(ends[:, 0])
    sure = (nan, nan)
    if seeds > 1:
        sure = (_gap(tested, non_increasing(ends[:, 1]), bound)[0], _gap(tested, non_increasing(ends[:, 2]), bound)[1])
    line = _first_within(np.array(tested), mean, bound)
    return LeastShare(between=_gap(tested, mean, bound), sure=sure, line=line, tested=tested, seeds=seeds)


def _gap(shares: Sequence[float], curve: np.ndarray, bound: float) -> tuple[float, float]:
    """The last share above the bound and the first within it, of a falling curve."""
    above = int((curve > bound).sum())
    nan = float("nan")
    return (shares[above - 1] if above else nan), (shares[above] if above < len(shares) else nan)


def _first_within(shares: np.ndarray, curve: np.ndarray, bound: float) -> float:
    within = np.flatnonzero(curve <= bound)
    if not len(within):
        return float("nan")
    i = int(within[0])
    if i == 0:
        return float(shares[0])
    part = (curve[i - 1] - bound) / (curve[i - 1] - curve[i])
    return float(shares[i - 1] + part * (shares[i] - shares[i - 1]))
