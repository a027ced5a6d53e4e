"""How well the model predicts each probe set, and the training objective there."""

from typing import Any, ClassVar

import numpy as np

from ontogeny.core.measures import ADDED_LATER, Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, dataset, inside, numpy_of, variable


class Evaluation(StreamMeasure):
    """NLL, perplexity, bits per byte and top-1 accuracy per probe set, and the objective with the step's weights.

    Over all tokens but each passage's first, or over its whole text where BOS stands before it, whether or not training
    counts them:
    `nll` = sum of NLL / tokens (nats per token); `nll_se` its standard error over passages as a ratio of two sums
    (Cochran, "Sampling Techniques", 6.4), which describes this one model; `perplexity` = exp(nll), never clamped;
    `bits_per_byte` = sum of NLL / (ln 2 x bytes of these tokens); `top1` the share that is the model's first choice.

    Per passage: `passage_nll_nats`, the sum of its NLL, over `scored_tokens` tokens (a coordinate). With it, two
    checkpoints are compared on the same passages, paired by document, as `nll_se` cannot.

    `objective` is what training minimises at this state, with the same weights, over the tokens that training counts,
    and `term_<name>` each of its terms unweighted; what terms tell besides stands under `<name>_<detail>`. Perplexity
    never comes from these.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"nll", "rank"})
    cost: ClassVar[str] = (
        "one forward pass over the probe sets, shared; 8 bytes per passage and checkpoint on disk, and some per set"
    )

    def needed(self, context: Context) -> frozenset[Need]:
        """Its own, and what the loss terms read."""
        return self.needs | context.objective.needs

    def look(self, context: Context) -> Look:
        """Start with nothing seen."""
        return _EvaluationLook(context, FlatAxes.of(context, self.probes))


class _EvaluationLook:
    def __init__(self, context: Context, axes: FlatAxes) -> None:
        self.context = context
        self.axes = axes
        self.nll = np.zeros(axes.passages)
        self.hits = np.zeros(axes.passages, dtype=np.int64)
        terms = context.objective.terms
        self.labels = [term.label for term in terms]
        told = [*self.labels, *(name for term in terms for name in term.detail_names().values())]
        self.terms = {name: dict.fromkeys(told, (0.0, 0.0)) for name in axes.probes}

    def see(self, batch: ForwardBatch) -> None:
        lengths = self.axes.lengths[batch.probe][batch.rows]
        scored = inside(batch, lengths - self.axes.predicted(batch.probe)[batch.rows], lengths)
        nll = np.where(scored, numpy_of(batch.nll).astype(np.float64), 0.0)
        self.axes.put_passages(batch, nll.sum(axis=1), self.nll)
        self.axes.put_passages(batch, (scored & (numpy_of(batch.rank) == 0)).sum(axis=1), self.hits)
        sums = self.terms[batch.probe]
        for name, (total, units) in self.context.objective.sums(batch, self.context.progress).items():
            sums[name] = (sums[name][0] + float(total), sums[name][1] + float(units))

    def result(self) -> Observation:
        rows = [self._of(name) for name in self.axes.probes]
        variables = {}
        for name, (_, units, about) in (rows[0] if rows else {}).items():
            variables[name] = variable("probe", [row[name][0] for row in rows], units, about)
        about = "sum of NLL over the scored tokens of a passage"
        variables["passage_nll_nats"] = variable("passage", self.nll, "nats", about, **{ADDED_LATER: 1})
        counts = np.concatenate(
            [np.zeros(0, dtype=np.int64), *(self.axes.predicted(name) for name in self.axes.probes)]
        )
        scored = {"scored_tokens": ("passage", counts.astype(np.int32))}
        coordinates = self.axes.probe_coordinates(), self.axes.passage_coordinates()
        return Observation(arrays=dataset(variables, *coordinates, scored))

    def _of(self, name: str) -> dict[str, tuple[Any, str, str]]:
        """One probe set's numbers: value, unit, what it is."""
        part = self.axes.of_probe(name)
        sums, tokens = self.nll[part], self.axes.predicted(name)
        passages = self.axes.probes[name].passages
        covered = sum(int(p.byte_offsets[-1] - p.byte_offsets[p.first_predicted]) for p in passages if len(p))
        total, count = float(sums.sum()), int(tokens.sum())
        nll = total / count if count else np.nan
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(nll))
        numbers: dict[str, tuple[Any, str, str]] = {
            "nll": (nll, "nats", "negative log-likelihood per token"),
            "nll_se": (_ratio_error(sums, tokens), "nats", "standard error of nll over passages"),
            "perplexity": (perplexity, "1", "exp(nll)"),
            "bits_per_byte": (total / np.log(2) / covered if covered else np.nan, "bits", "NLL per byte of text"),
            "top1": (self.hits[part].sum() / count if count else np.nan, "1", "share predicted as first choice"),
            "n_tokens": (count, "tokens", "tokens scored"),
        }
        objective, terms = self.context.objective.combine(self.terms[name], self.context.progress)
        numbers["objective"] = (objective, "nats", "training objective with the weights of this state")
        for told, value in terms.items():
            if told in self.labels:
                numbers[f"term_{told}"] = (value, "nats", f"loss term {told}, unweighted")
            else:
                numbers[told] = (value, "nats", f"{told}, told by a loss term")
        return numbers


def _ratio_error(sums: np.ndarray, counts: np.ndarray) -> float:
    """Standard error of sum(sums) / sum(counts) over independent passages; NaN for fewer than two."""
    sums, counts = sums[counts > 0], counts[counts > 0]
    n = len(sums)
    if n < 2:
        return float("nan")
    residuals = sums - sums.sum() / counts.sum() * counts
    return float(np.sqrt(n / (n - 1) * np.square(residuals).sum()) / counts.sum())
