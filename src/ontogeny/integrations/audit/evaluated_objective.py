"""The objective of an evaluation beside that of the training: by weights, by terms, or by the NLL."""

import itertools
from collections.abc import Mapping

import numpy as np

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome
from ontogeny.integrations.audit.recording import Recording
from ontogeny.integrations.audit.returned import LOSS, named
from ontogeny.integrations.audit.seen import Evaluated, LossTerms


def near(one: float, other: float, share: float) -> bool:
    """Do two numbers differ by at most that share of the second?"""
    return abs(one - other) <= share * abs(other)


def learning_weights(seen: Recording) -> Mapping[str, float]:
    """The weights of the last loss with gradients."""
    return next((one.weights for one in reversed(seen.terms) if one.learning), {})


def compare_objectives(seen: Recording, *, lacks: str) -> Outcome:
    """Do training and evaluation compute the same objective? `lacks` says what is needed to tell."""
    evaluations = [
        [one for one in group if one.weights and one.training_weights]
        for learning, group in itertools.groupby(seen.terms, key=lambda one: one.learning)
        if not learning
    ]
    if any(evaluations):
        return _by_weights([looks for looks in evaluations if looks])
    done = seen.evaluated
    loss = None if done is None else named(done.numbers, LOSS)
    if done is None or loss is None:
        return Lacks(what=lacks)
    weights = {name: weight for name, weight in learning_weights(seen).items() if weight != 0}
    terms = {name: named(done.numbers, frozenset({name.lower(), f"{name.lower()}_loss"})) for name in weights}
    if len(weights) > 1 and all(value is not None for value in terms.values()):
        return _by_terms(loss, {name: value for name, value in terms.items() if value is not None}, weights)
    return _by_nll(seen, done, loss)


def _by_weights(evaluations: list[list[LossTerms]]) -> Outcome:
    off = [weights for looks in evaluations if (weights := _other_weights(looks[0]))]
    numbers = {"evaluations": len(evaluations), "with_other_weights": len(off)}
    if len(off) < min(2, len(evaluations)):  # a schedule may jump between the last batch and one evaluation
        return Nothing(numbers=numbers)
    said = ", ".join(f"'{name}' {there:g} (training: {here:g})" for name, (there, here) in off[0].items())
    return Detection(
        severity="error",
        statement=f"evaluation weighs its terms otherwise than training: {said}; the two losses cannot be compared",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _other_weights(one: LossTerms) -> dict[str, tuple[float, float]]:
    """Weights in evaluation and in training, where they differ."""
    pairs = {name: (weight, one.training_weights.get(name, weight)) for name, weight in one.weights.items()}
    return {
        name: pair
        for name, pair in pairs.items()
        if not near(pair[0], pair[1], 0.1) and not near(pair[1], pair[0], 0.1)
    }


def _by_terms(loss: float, terms: Mapping[str, float], weights: Mapping[str, float]) -> Outcome:
    added = sum(weights[name] * value for name, value in terms.items())
    numbers: dict[str, float | int | str] = {"loss": loss, "with_training_weights": added}
    if near(loss, added, 0.01):
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"the evaluation's loss is {loss:.5g}, its terms with training's weights "
        f"add up to {added:.5g}: another objective",
        numbers=numbers,
        evidence=(),
    )


def _by_nll(seen: Recording, done: Evaluated, loss: float) -> Outcome:
    fits = [one.targets.misfit for one in seen.forwards if one.targets is not None and (one.targets.ids >= 0).any()]
    if seen.terms or len(fits) < 4 or np.median(fits) > 0.05:
        return Lacks(what="the terms and weights of the training loss (watch): it is no plain cross entropy")
    if not done.tokens or not all(one.labelled for one in done.passes):
        return Lacks(what="an evaluation that gives the model its labels, or terms and weights (watch)")
    numbers: dict[str, float | int | str] = {"loss": loss, "mean_nll": done.token_mean}
    if any(near(loss, mean, 0.01) for mean in (done.token_mean, done.batch_mean, done.row_mean)):
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement="training minimises a plain cross entropy; the evaluation's loss is "
        f"{loss:.4g}, and the NLL of its rows {done.token_mean:.4g}",
        numbers=numbers,
        evidence=(),
    )
