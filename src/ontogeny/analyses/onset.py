"""When passages become memorized, what goes with it, and whether the first checkpoint predicts it."""

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import NO_LONG_PASSAGES, PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.documents import means_by_document
from ontogeny.statistics.estimates import counted, sample, shortage
from ontogeny.statistics.interval_censored import censoring_intervals, concordance, earlier_by_document, turnbull
from ontogeny.statistics.permutations import permutation_p
from ontogeny.statistics.prediction import folds, interval_by_permutation, predicted_areas

LEAST = 10
"""Documents, and of each outcome `LEAST_OF_EACH`, below which nothing is claimed."""
LEAST_OF_EACH = 5
LEAST_CHECKPOINTS = 3
LEVEL = 0.05

Relations = dict[str, dict[str, float]]
"""By covariate: concordance, documents, p and adjusted p."""


class Onset(PassageAnalysis):
    """The epoch at which each trained passage becomes memorized, known to lie between two checkpoints.

    Onset is the first checkpoint from which on it is memorized to the end: interval-censored by the checkpoint before;
    left-censored if it was memorized before training; right-censored if never, or no more at the end. `curve`: the
    share memorized by each epoch, by Turnbull's self-consistent estimator (1976). Its relation to what was known at
    checkpoint 0 (compression per layer, NLL) and to length and number of copies: `concordance`, the share of comparable
    pairs of documents (one's passages surely before the other's) in which the later one has the higher mean (0.5 is
    none, ties count half), with p by permuting the means over documents, adjusted over the covariates (Benjamini and
    Hochberg). `prediction`: of documents memorized by the end (half of their passages or more), from the first
    checkpoint after training began: area under the ROC curve of compression (all layers), of length and NLL, and of
    all, by logistic regression cross-validated over documents. Its interval and p come from permuting the outcomes, and
    for what compression adds to length and NLL from permuting compression.
    """

    order: ClassVar[float] = 30

    permutations: int = Field(default=2000, ge=99)
    """Of a covariate, for its p."""
    refits: int = Field(default=199, ge=99)
    """Of the prediction to permuted outcomes, for its interval."""

    def analyze(self, run: RecordedRun) -> Result:
        """Estimate the curve, and test what goes with it."""
        return self.estimate(self.passages(run))

    def estimate(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        random = np.random.default_rng(self.seed)
        kept = table.trained & np.isfinite(table.memorized).all(axis=0)
        if not kept.any():
            lack = f"not assessable: lacks {NO_LONG_PASSAGES}"
            return Result(verdict=lack, sentences=(), reading=_READING, numbers={})
        low, high = censoring_intervals(table.epoch, table.memorized[:, kept] > 0.5)
        times, curve = turnbull(low, high)
        covariates = {
            "NLL at checkpoint 0": table.nll[0, kept],
            "length": table.length[kept].astype(float),
            "copies": table.copies[kept].astype(float),
            **{f"compression at block {b}, checkpoint 0": table.score[0, i, kept] for i, b in enumerate(table.layer)},
        }
        document = table.document[kept]
        by_document = {name: means_by_document(values, document) for name, values in covariates.items()}
        no_number = [name for name, values in by_document.items() if not np.isfinite(values).all()]
        varying = {name: values for name, values in by_document.items() if np.ptp(values) > 0}
        earlier = earlier_by_document(low, high, document)
        relations = self._relations(earlier, varying, random) if len(table.step) > 1 else {}
        prediction = self._prediction(table, kept, random)
        counts = {
            "left": int(np.isneginf(low).sum()),
            "right": int(np.isposinf(high).sum()),
            "n": int(kept.sum()),
            "documents": len(np.unique(document)),
            "told_apart": int((earlier + earlier.T).any(axis=0).sum()),
            "checkpoints": len(table.step),
        }
        numbers = {
            "times": times,
            "curve": curve,
            "low": low,
            "high": high,
            "passage": table.name[kept],
            "censored": counts,
            "relations": relations,
            "no_number": no_number,
            "prediction": prediction,
        }
        sentences = _sentences(counts, relations, prediction)
        if no_number:
            sentences.append(f"left out, since it is no number in some document: {', '.join(no_number)}")
        return Result(
            verdict=_verdict(counts, relations), sentences=tuple(sentences), reading=_READING, numbers=numbers
        )

    def _relations(
        self, earlier: np.ndarray, covariates: dict[str, np.ndarray], random: np.random.Generator
    ) -> Relations:
        """Of each covariate, by document; `earlier` as `earlier_by_document` gives it. Empty if none can be tested."""
        compared = np.flatnonzero((earlier + earlier.T).any(axis=0))
        if len(compared) < LEAST or not covariates:
            return {}
        relations: Relations = {}
        for name, values in covariates.items():
            relation = concordance(earlier[np.ix_(compared, compared)], values[compared], random, self.permutations)
            relations[name] = {"concordance": relation.value, "p": relation.p, "documents": len(compared)}
        adjusted = benjamini_hochberg(np.array([relation["p"] for relation in relations.values()]))
        for relation_numbers, p in zip(relations.values(), adjusted, strict=True):
            relation_numbers["p_adjusted"] = float(p)
        return relations

    def _prediction(self, table: Passages, kept: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
        """How well the first checkpoint after training began predicts memorization by the end, or what it `lacks`."""
        document = table.document[kept]
        outcome = means_by_document(table.memorized[-1, kept], document) >= 0.5
        memorized, n = int(outcome.sum()), len(outcome)
        if len(table.step) < LEAST_CHECKPOINTS:
            remedy = f"measure at {LEAST_CHECKPOINTS} or more"
            return {"lacks": shortage(LEAST_CHECKPOINTS, "checkpoint", len(table.step), remedy)}
        if memorized < LEAST_OF_EACH:
            remedy = "train longer, or on more documents"
            return {"lacks": shortage(LEAST_OF_EACH, "document", memorized, remedy, "memorized by the end")}
        if n - memorized < LEAST_OF_EACH:
            remedy = "train on more documents, or end earlier"
            return {"lacks": shortage(LEAST_OF_EACH, "document", n - memorized, remedy, "not memorized by the end")}
        simple = means_by_document(np.stack([table.length[kept], table.nll[1, kept]]), document).T
        layers = means_by_document(table.score[1][:, kept], document).T
        layers = layers[:, np.isfinite(layers).all(axis=0)]
        if not np.isfinite(simple).all() or not layers.shape[1]:
            what = "compression in some layer" if np.isfinite(simple).all() else "NLL"
            return {
                "lacks": f"{what} that is a number in every document at epoch {table.epoch[1]:g}: look at what made it "
                "none"
            }
        features = {"length and NLL": simple, "compression": layers, "all": np.concatenate([simple, layers], axis=1)}
        # The first row is what happened; in the others outcomes, or for the gain compression, are permuted.
        fold = np.array([folds(n, random) for _ in range(1 + self.refits)])
        shuffled = np.array([np.arange(n), *(random.permutation(n) for _ in range(self.refits))])
        areas: dict[str, dict[str, float]] = {}
        for name, x in features.items():
            area, *drawn = predicted_areas(np.broadcast_to(x, (len(fold), *x.shape)), outcome[shuffled], fold)
            low, high = interval_by_permutation(area, np.array(drawn), 0.5)
            p = float(permutation_p(area, np.array(drawn)))
            areas[name] = {"auroc": float(area), "low": max(low, 0.0), "high": min(high, 1.0), "p": p}
        known = np.broadcast_to(simple, (len(fold), *simple.shape))
        outcomes = np.broadcast_to(outcome, fold.shape)
        both = np.concatenate([known, layers[shuffled]], axis=2)
        gain, *gains = predicted_areas(both, outcomes, fold) - predicted_areas(known, outcomes, fold)
        gain_low, gain_high = interval_by_permutation(gain, np.array(gains), 0.0)
        return {
            "areas": areas,
            "gain": float(gain),
            "gain_low": gain_low,
            "gain_high": gain_high,
            "gain_p": float(permutation_p(gain, np.array(gains))),
            "epoch": float(table.epoch[1]),
            "n": n,
            "memorized": memorized,
        }


def _verdict(counts: dict[str, int], relations: Relations) -> str:
    if counts["right"] == counts["n"]:
        return f"none of {counted(counts['n'], 'passage')} became memorized: nothing can be said about onset"
    if counts["left"] == counts["n"]:
        return (
            f"all of {counted(counts['n'], 'passage')} were memorized before training: nothing can be said about "
            "onset; take passages that the model does not know"
        )
    if counts["checkpoints"] < 2:
        return f"not assessable: lacks {shortage(2, 'checkpoint', counts['checkpoints'], 'measure at 2 or more')}"
    if not relations and counts["told_apart"] >= LEAST:
        return (
            "what goes with onset is not assessable: of what was known at checkpoint 0 nothing varies, or it is no "
            "number"
        )
    if not relations:
        return (
            f"what goes with onset is not assessable: the onsets of fewer than {LEAST} documents can be told apart "
            f"(of {counts['documents']}): look more often, or at more documents"
        )
    sure = [name for name, relation in relations.items() if relation["p_adjusted"] < LEVEL]
    if sure:
        return f"onset goes with {', '.join(sure)}"
    tested = counted(len(relations), "number")
    return f"nothing that was known at checkpoint 0 goes significantly with onset (of {tested})"


def _sentences(counts: dict[str, int], relations: Relations, prediction: dict[str, Any]) -> list[str]:
    lines = [
        f"of {sample(counts['n'], 'trained passage', counts['documents'])} {counts['n'] - counts['right']} became "
        f"memorized and stayed so ({counts['left']} were so before training); {counts['right']} did not"
    ]
    for name, relation in relations.items():
        way = "later onset" if relation["concordance"] > 0.5 else "earlier onset"
        if relation["p_adjusted"] >= LEVEL:
            way = "onset not significantly earlier or later"
        lines.append(
            f"higher {name}: {way}, concordance {relation['concordance']:.2f} over n = "
            f"{relation['documents']:.0f} documents, p = {relation['p_adjusted']:.4f} adjusted over {len(relations)}"
        )
    if "lacks" in prediction:
        return [*lines, f"prediction of who is memorized by the end: not assessable, lacks {prediction['lacks']}"]
    documents = f"n = {prediction['n']} documents, {prediction['memorized']} memorized"
    for name, area in prediction["areas"].items():
        lines.append(
            f"predicted at epoch {prediction['epoch']:g} from {name}: AUROC {area['auroc']:.2f}, 95% {area['low']:.2f} "
            f"to {area['high']:.2f}, p = {area['p']:.3f} ({documents})"
        )
    lines.append(
        f"compression beyond length and NLL: {prediction['gain']:+.2f} AUROC, 95% {prediction['gain_low']:+.2f} to "
        f"{prediction['gain_high']:+.2f}, p = {prediction['gain_p']:.3f}"
    )
    return lines


_READING = (
    "An onset is known only up to the checkpoints around it, so two passages can be ordered only if their intervals do "
    "not overlap. A concordance of 0.5 says nothing; 0.7 says that in 7 of 10 pairs of documents the later one had the "
    "higher value. Passages of one document share what it is about, so a document counts once, however many passages "
    "were cut from it."
)
