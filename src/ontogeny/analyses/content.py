"""How much is memorized at each checkpoint, by kind of content and by how often it was repeated."""

from typing import Any

import numpy as np

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics import by_document as stats

LEAST = 5


class Content(PassageAnalysis):
    """Memorized share, mean and median accuracy of the trained passages, and the perplexity gap, at each checkpoint.

    `share` with a Wilson interval; `gap` is the mean NLL of the novel passages minus that of the trained ones (nats,
    with a document bootstrap), whose exponential is the ratio of their perplexities. All by content (the corpus that a
    passage is from) and by the number of copies of its document in an epoch. For both the rank correlation with final
    accuracy is tested: copies by Spearman, content by Kruskal and Wallis, over documents.
    """

    def analyze(self, run: RecordedRun) -> Result:
        """Tabulate and test."""
        return self.tabulate(self.passages(run))

    def tabulate(self, table: Passages) -> Result:
        """The same, from passages laid side by side."""
        from scipy import stats as scipy_stats

        random = np.random.default_rng(self.seed)
        kept = table.trained & np.isfinite(table.memorized).all(axis=0)
        corpus = np.array([str(one).partition(":")[0] for one in table.source])
        rows = {"all": _rows(table, kept)}
        parts = {f"content {name}": kept & (corpus == name) for name in np.unique(corpus[kept])}
        parts |= {f"{n} copies": kept & (table.copies == n) for n in np.unique(table.copies[kept])}
        rows |= {name: _rows(table, mask) for name, mask in parts.items() if len(parts) > 2}
        gap = [self._gap(table, c, random) for c in range(len(table.step))]
        final = stats.by_document(np.where(kept, table.accuracy[-1], np.nan), table.document)
        copies = stats.by_document(table.copies.astype(float), table.document)
        known = np.isfinite(final)
        tests: dict[str, Any] = {}
        if len(np.unique(copies[known])) > 1 and known.sum() >= LEAST and np.ptp(final[known]) > 0:
            found = scipy_stats.spearmanr(copies[known], final[known])
            tests["copies"] = {"rho": float(found.statistic), "p": float(found.pvalue), "n": int(known.sum())}
        of_document = {d: corpus[table.document == d][0] for d in np.unique(table.document)}
        label = np.array([of_document[d] for d in range(table.documents)])
        groups = [final[known & (label == one)] for one in np.unique(label[known])]
        if len(groups) > 1 and all(len(one) >= LEAST for one in groups) and np.ptp(final[known]) > 0:
            test = scipy_stats.kruskal(*groups)
            tests["content"] = {"H": float(test.statistic), "p": float(test.pvalue), "n": int(known.sum())}
        last = rows["all"][-1]
        verdict = (
            f"{last['memorized']} of {last['n']} trained passages are memorized at the end "
            f"({last['share']:.0%}, 95% {last['low']:.0%} to {last['high']:.0%})"
        )
        numbers = {"step": table.step, "epoch": table.epoch, "rows": rows, "gap": gap, "tests": tests}
        return Result(
            verdict=verdict, sentences=tuple(_sentences(rows, gap, tests, table)), reading=_READING, numbers=numbers
        )

    @staticmethod
    def _gap(table: Passages, checkpoint: int, random: np.random.Generator) -> dict[str, float]:
        nll = stats.by_document(table.nll[checkpoint], table.document)
        trained = stats.by_document(table.trained.astype(float), table.document) > 0.5
        found = stats.effect(nll[~trained], nll[trained], random)
        return {"value": found.value, "low": found.low, "high": found.high}


def _rows(table: Passages, mask: np.ndarray) -> list[dict[str, float]]:
    """One row per checkpoint."""
    n = int(mask.sum())
    rows = []
    for c in range(len(table.step)):
        memorized = int((table.memorized[c, mask] > 0.5).sum())
        low, high = wilson(memorized, n)
        rows.append(
            {
                "n": n,
                "memorized": memorized,
                "share": memorized / n if n else float("nan"),
                "low": low,
                "high": high,
                "mean_accuracy": float(table.accuracy[c, mask].mean()) if n else float("nan"),
                "median_accuracy": float(np.median(table.accuracy[c, mask])) if n else float("nan"),
            }
        )
    return rows


def wilson(found: int, n: int) -> tuple[float, float]:
    """95% Wilson interval of a share."""
    from scipy.stats import binomtest

    if not n:
        return float("nan"), float("nan")
    interval = binomtest(found, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _sentences(
    rows: dict[str, list[dict[str, float]]], gap: list[dict[str, float]], tests: dict[str, Any], table: Passages
) -> list[str]:
    lines = [
        f"{name}: {one['memorized']} of {one['n']} memorized at the end, accuracy {one['mean_accuracy']:.2f} on "
        f"average, {one['median_accuracy']:.2f} in the median"
        for name, (*_, one) in rows.items()
    ]
    lines.append(
        f"novel minus trained NLL: {gap[0]['value']:+.2f} nats at the start, {gap[-1]['value']:+.2f} at the end (95% "
        f"{gap[-1]['low']:+.2f} to {gap[-1]['high']:+.2f}); perplexities {np.exp(gap[-1]['value']):.3g} to 1"
    )
    half = next((i for i, one in enumerate(rows["all"]) if one["share"] >= 0.5), None)
    lines.append(
        "half of the passages are never memorized"
        if half is None
        else f"half of the passages are memorized by epoch {table.epoch[half]:g}"
    )
    if "copies" in tests:
        one = tests["copies"]
        lines.append(f"copies against accuracy: rho = {one['rho']:+.2f}, p = {one['p']:.4f}, n = {one['n']} documents")
    if "content" in tests:
        one = tests["content"]
        lines.append(f"kinds of content differ: H = {one['H']:.1f}, p = {one['p']:.4f}, n = {one['n']} documents")
    return lines


_READING = (
    "Kinds of content differ in more than their kind: in length, in how well the model knew such text before, in how "
    "many documents there are. Copies are planted, so their effect is one of repetition."
)
