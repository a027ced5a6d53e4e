"""How much is memorized at each checkpoint, by kind of content and by how often it was repeated."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import NO_LONG_PASSAGES, PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.documents import means_by_document
from ontogeny.statistics.estimates import sample, share_interval
from ontogeny.statistics.permutations import permutation_p
from ontogeny.statistics.two_samples import group_difference

LEVEL = 0.05
LEAST = 5
"""Documents, in all and of each kind of content, below which nothing is tested."""

Rows = dict[str, list[dict[str, float]]]
"""By the name of a part of the passages: a row of numbers per checkpoint."""


class Content(PassageAnalysis):
    """Memorized share, mean and median accuracy of the trained passages, and the perplexity gap, at each checkpoint.

    `share` with an interval over documents (`estimates.share_interval`); `gap` is the mean NLL of the novel documents
    minus that of the trained ones (nats, with Welch's interval), whose exponential is the ratio of their perplexities.
    All by content (the corpus that a passage is from) and by the number of copies of its document in an epoch. For both
    the relation with final accuracy is tested: copies by Spearman's rho, content by Kruskal and Wallis's H, with p by
    permuting the ranks of accuracy over documents, which few documents and ties do not disturb.
    """

    order: ClassVar[float] = 20

    permutations: int = Field(default=2000, ge=99)
    """Of accuracy over documents."""

    def analyze(self, run: RecordedRun) -> Result:
        """Tabulate and test."""
        return self.tabulate(self.passages(run))

    def tabulate(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        kept = table.trained & np.isfinite(table.memorized).all(axis=0)
        if not kept.any():
            lack = f"not assessable: lacks {NO_LONG_PASSAGES}"
            return Result(
                verdict=lack, sentences=(), reading=_READING, numbers={"step": table.step, "epoch": table.epoch}
            )
        corpus = np.array([str(source).partition(":")[0] for source in table.source])
        rows: Rows = {"all": _rows(table, kept)}
        parts = {f"content {name}": kept & (corpus == name) for name in np.unique(corpus[kept])}
        parts |= {f"{n} copies": kept & (table.copies == n) for n in np.unique(table.copies[kept])}
        if len(parts) > 2:  # one kind of content and one number of copies would repeat the whole
            rows |= {name: _rows(table, chosen) for name, chosen in parts.items()}
        gap = [_gap(table, checkpoint) for checkpoint in range(len(table.step))]
        tests = self._tests(table, kept, corpus)
        last = rows["all"][-1]
        verdict = (
            f"{_memorized(last, 'trained passage')} are memorized at the end ({last['share']:.0%}{_interval(last)})"
        )
        numbers = {"step": table.step, "epoch": table.epoch, "rows": rows, "gap": gap, "tests": tests}
        sentences = tuple(_sentences(rows, gap, tests, table))
        return Result(verdict=verdict, sentences=sentences, reading=_READING, numbers=numbers)

    def _tests(self, table: Passages, kept: np.ndarray, corpus: np.ndarray) -> dict[str, dict[str, float]]:
        """Final accuracy over documents against copies and content; only those that can be tested."""
        from scipy.stats import rankdata

        final = means_by_document(np.where(kept, table.accuracy[-1], np.nan), table.document)
        known = np.isfinite(final)
        n = int(known.sum())
        if n < LEAST or np.ptp(final[known]) == 0:
            return {}
        copies = means_by_document(table.copies.astype(float), table.document)[known]
        content_of = {d: corpus[table.document == d][0] for d in np.unique(table.document)}
        content = np.array([content_of[d] for d in range(table.documents)])[known]
        ranks = rankdata(final[known])
        shuffled = np.random.default_rng(self.seed).permuted(np.tile(ranks, (self.permutations, 1)), axis=1)
        tests: dict[str, dict[str, float]] = {}
        if np.ptp(copies) > 0:
            rho, *drawn = _rank_correlation(np.vstack([ranks, shuffled]), rankdata(copies))
            p = float(permutation_p(abs(rho), np.abs(drawn)))
            tests["copies"] = {"rho": float(rho), "p": p, "n": n}
        kinds, kind, sizes = np.unique(content, return_inverse=True, return_counts=True)
        if len(kinds) > 1 and sizes.min() >= LEAST:
            h, *drawn = _kruskal(np.vstack([ranks, shuffled]), kind)
            tests["content"] = {"H": float(h), "p": float(permutation_p(h, np.array(drawn))), "n": n}
        return tests


def _rank_correlation(ranks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rho of each row of ranks [rows, n] with the others [n]: float64 [rows]."""
    first, second = ranks - ranks.mean(axis=1, keepdims=True), others - others.mean()
    return np.asarray(first @ second / np.sqrt(np.square(first).sum(axis=1) * (second @ second)))


def _kruskal(ranks: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Kruskal and Wallis's H of each row of ranks [rows, n] by kind [n], corrected for ties: float64 [rows].

    (n - 1) x the share of the ranks' sum of squares that lies between kinds (1952).
    """
    about = ranks - ranks.mean(axis=1, keepdims=True)
    sums = np.stack([about[:, kind == k].sum(axis=1) for k in np.unique(kind)])
    between = (np.square(sums) / np.bincount(kind)[:, None]).sum(axis=0)
    return np.asarray((len(kind) - 1) * between / np.square(about).sum(axis=1))


def _memorized(row: dict[str, float], unit: str) -> str:
    """3 of 8 passages from 4 documents."""
    return f"{row['memorized']:.0f} of {sample(int(row['n']), unit, int(row['documents']))}"


def _interval(row: dict[str, float]) -> str:
    """Ready to print behind the share; what is missing where there is none."""
    if np.isnan(row["low"]):
        return "; an interval needs passages of two documents or more"
    return f", 95% {row['low']:.0%} to {row['high']:.0%} over documents"


def _gap(table: Passages, checkpoint: int) -> dict[str, float]:
    nll = means_by_document(table.nll[checkpoint], table.document)
    trained = means_by_document(table.trained.astype(float), table.document) > 0.5
    gap = group_difference(nll[~trained], nll[trained])
    return {"value": gap.value, "low": gap.low, "high": gap.high}


def _rows(table: Passages, chosen: np.ndarray) -> list[dict[str, float]]:
    """One row per checkpoint; `chosen` bool [P]."""
    n, nan = int(chosen.sum()), float("nan")
    reached, document = table.memorized[:, chosen] > 0.5, table.document[chosen]
    memorized = reached.sum(axis=1)
    share = memorized / n if n else np.full(len(memorized), nan)
    sizes = np.unique(document, return_counts=True)[1].astype(float)
    low, high = np.array([share_interval(float(at), sizes) for at in share]).T
    accuracy = table.accuracy[:, chosen]
    return [
        {
            "n": n,
            "documents": len(np.unique(document)),
            "memorized": int(memorized[i]),
            "share": float(share[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "mean_accuracy": float(accuracy[i].mean()) if n else nan,
            "median_accuracy": float(np.median(accuracy[i])) if n else nan,
        }
        for i in range(len(table.step))
    ]


def _sentences(
    rows: Rows, gap: list[dict[str, float]], tests: dict[str, dict[str, float]], table: Passages
) -> list[str]:
    lines = [
        f"{name}: {_memorized(last, 'passage')} memorized at the end, "
        f"accuracy {last['mean_accuracy']:.2f} on average, {last['median_accuracy']:.2f} in the median"
        for name, (*_, last) in rows.items()
    ]
    first, last = gap[0], gap[-1]
    few = "not assessable: lacks 2 documents or more of each: take the probe sets from more documents"
    if not np.isfinite(table.nll[-1]).all():
        few = "not assessable: the NLL is no number at the end: look at what made it none"
    lines.append(
        f"novel minus trained NLL: {few}"
        if np.isnan(last["low"])
        else f"novel minus trained NLL: {first['value']:+.2f} nats at the start, {last['value']:+.2f} at the end (95% "
        f"{last['low']:+.2f} to {last['high']:+.2f}); perplexities {np.exp(last['value']):.3g} to 1"
    )
    half = next((i for i, row in enumerate(rows["all"]) if row["share"] >= 0.5), None)
    if half is None:
        lines.append("at no checkpoint half of the passages are memorized")
    else:
        lines.append(f"half of the passages are memorized by epoch {table.epoch[half]:g}")
    if (test := tests.get("copies")) is not None:
        rho = f"rho = {test['rho']:+.2f}, p = {test['p']:.4f}"
        lines.append(f"copies against accuracy: {rho}, n = {test['n']} documents")
    if (test := tests.get("content")) is not None:
        differ = "differ" if test["p"] < LEVEL else "do not differ significantly"
        about = f"H = {test['H']:.1f}, p = {test['p']:.4f}, n = {test['n']} documents"
        lines.append(f"kinds of content {differ} in accuracy at the end: {about}")
    return lines


_READING = (
    "Kinds of content differ in more than their kind: in length, in how well the model knew such text before, in how "
    "many documents there are. Copies are planted, so their effect is one of repetition."
)
