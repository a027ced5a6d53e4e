"""Do the terms of the loss add up, vary, and pull the same way?"""

import math
from collections.abc import Mapping

import numpy as np

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recording import Recording
from ontogeny.integrations.audit.seen import NLL, LossTerms

LEAST_LOOKS = 4
WATCH = "audit.watch(terms={name: value}, weights={name: weight}, total=loss) before backward"
MASKS = (1e3, 1e4, 3e4, 5e4, 6e4, 65504.0, *(10.0**power for power in range(5, 13)))
"""Sizes of the scores that people give to what is to be left out."""
TEMPERATURES = (1.0, 0.5, 0.2, 0.1, 0.07, 0.05)
FLOATS = "three numbers of each look"
GRADIENTS = (
    "one backward pass per term at the first 8 looks and at every further one, over at most 4 million numbers of the "
    "weights"
)


def learned(seen: Recording) -> list[LossTerms]:
    """The looks at terms while gradients were enabled."""
    return [one for one in seen.terms if one.learning]


@check(
    title="The total is not the sum of its terms",
    needs="terms, weights and total (watch) at three steps",
    cost=FLOATS,
    threshold="the total differs by more than 0.1% from the sum of weight x term at most looks, and is not that sum "
    "divided by the micro-batches of a step",
    otherwise="a term or a factor that was not watched",
    refuted_by="the same sum, computed by hand from one step",
    remedy="add the terms in one place, with the weights that the log shows",
)
def total_is_the_sum(seen: Recording) -> Outcome:
    """total = sum of weight x term."""
    looks = [
        (one.total, sum(one.weights[name] * value for name, value in one.values.items() if one.weights[name]))
        for one in learned(seen)
        if one.total is not None and one.weights.keys() >= one.values.keys() and all(map(math.isfinite, _all(one)))
    ]
    if len(looks) < 3:
        return Lacks(what=f"terms, their weights and the total at three steps: {WATCH}")
    pieces = {1.0, float(seen.latest("accumulation") or 1.0)}
    pieces |= {float(np.median([step.backwards for step in seen.steps]))} if seen.steps else set()
    off = [(total, added) for total, added in looks if not any(_same(total * count, added) for count in pieces)]
    numbers: dict[str, float | int | str] = {"differ": len(off), "looks": len(looks)}
    if len(off) * 2 <= len(looks):
        return Nothing(numbers=numbers)
    total, added = off[0]
    numbers |= {"total": total, "sum": added}
    return Detection(
        severity="error",
        statement=f"the total is {total:.6g} where its terms add up to {added:.6g} ({len(off)} of {len(looks)} looks)",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _all(one: LossTerms) -> list[float]:
    return [*one.values.values(), one.total or 0.0]


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-3 * max(abs(one), abs(other))


@check(
    title="A term that never changes",
    needs="a term (watch) at five forward passes",
    cost=FLOATS,
    threshold="the same value to six digits at every look, while its weight is not 0; or a value that wavers by less "
    "than 0.1% just above a usual mask (1e4, 65504, 1e9, …), by itself or divided by a usual temperature",
    otherwise="a hinge that is satisfied; a penalty that is 0 as long as nothing has happened",
    refuted_by="another value on another batch",
    remedy="compute it on two batches by hand; a value near 1e9, or 1e4, is a masked score used as the target",
)
def constant_term(seen: Recording) -> Outcome:
    """Every weighted term varies from batch to batch."""
    series = {name: values for name, values in _series(seen).items() if len(values) >= 5}
    if not series:
        return Lacks(what=f"a term at five forward passes: {WATCH}")
    constant = {
        name: float(values[0])
        for name, values in series.items()
        if np.isfinite(values).all()
        and _weight(seen, name) != 0
        and (np.ptp(values) <= 1e-6 * abs(values[0]) or _near_a_mask(values))
    }
    if not constant:
        return Nothing(numbers={"terms": len(series)})
    said = ", ".join(f"'{name}' is {value:.6g}" for name, value in constant.items())
    exact = all(np.ptp(series[name]) <= 1e-6 * abs(value) for name, value in constant.items())
    wavers = "" if exact else ", give or take 0.1% at most,"
    masked = any(abs(value) >= 1e4 or _near_a_mask(series[name]) for name, value in constant.items())
    return Detection(
        severity="error" if masked else "warning",
        statement=f"{said}{wavers} at every one of {min(map(len, series.values()))} looks"
        + (": a masked score is its own target" if masked else ""),
        numbers=constant | {"looks": min(map(len, series.values()))},
        evidence=(),
        certainty="certain" if masked else "likely",
    )


def _near_a_mask(values: np.ndarray) -> bool:
    """Does it waver by less than 0.1%, just above a number that scores are masked with?

    A penalty on weights is large and steady, too: but it goes one way, and no mask is near.
    """
    steady = np.ptp(values) <= 1e-3 * abs(values[0])
    wavers = np.abs(np.diff(values)).sum() >= 1.5 * np.ptp(values)
    above = values.min() / np.outer(MASKS, 1 / np.array(TEMPERATURES)) - 1
    return bool(steady and wavers and ((above >= 0) & (above < 5e-3)).any())


def _series(seen: Recording) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {}
    for one in learned(seen):
        for name, value in one.values.items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def _weight(seen: Recording, name: str) -> float | None:
    """Largest size of a term's weight; None if never watched."""
    known = [abs(one.weights[name]) for one in learned(seen) if name in one.weights]
    return max(known) if known else None


@check(
    title="A term that is not finite",
    needs="a term (watch)",
    cost=FLOATS,
    threshold="one value that is NaN or infinite",
    otherwise="an overflow that a loss scaler catches",
    refuted_by="finite values on the same batch in float32",
    remedy="guard logarithms and divisions inside, as in log(p + eps); a weight of 0 does not help: 0 x inf is NaN; "
    "where it is +inf from the start, look whether a score that is masked with -inf is a target",
)
def term_not_finite(seen: Recording) -> Outcome:
    """No term is NaN or infinite."""
    series = _series(seen)
    if not series:
        return Lacks(what=f"a term: {WATCH}")
    bad = {name: int((~np.isfinite(values)).sum()) for name, values in series.items()}
    found = {name: count for name, count in bad.items() if count}
    if not found:
        return Nothing(numbers={"terms": len(series)})
    said = ", ".join(f"'{name}' at {count} of {len(series[name])} looks" for name, count in found.items())
    always = [name for name in found if len(series[name]) >= 3 and (series[name] == np.inf).all()]
    masked = f"; {_quoted(always)} is +inf at all: a score that is masked with -inf is its own target" if always else ""
    return Detection(
        severity="error", statement=f"NaN or infinite: {said}{masked}", numbers=found, evidence=(), certainty="certain"
    )


@check(
    title="A term without a gradient",
    needs="two terms (watch) as tensors, before backward",
    cost=FLOATS,
    threshold="a term whose weight is not 0 has no graph at any look, while another has one",
    otherwise="a term that is watched as a number on purpose",
    refuted_by="term.requires_grad is True",
    remedy="find the detach(), item(), no_grad or argmax between the weights and this term",
)
def term_detached(seen: Recording) -> Outcome:
    """A gradient can flow through every weighted term."""
    looks = [one for one in learned(seen) if len(one.detached) < len(one.values)]
    if not looks or max(len(one.values) for one in looks) < 2:
        return Lacks(what=f"two terms as tensors, one of them with a graph: {WATCH}")
    never = frozenset.intersection(*(one.detached for one in looks))
    bare = sorted(name for name in never if _weight(seen, name) != 0)
    if not bare:
        return Nothing(numbers={"terms": len(looks[0].values)})
    return Detection(
        severity="error",
        statement=f"no gradient flows through {_quoted(bare)}: it adds to the loss that is "
        "shown, not to what is learned",
        numbers={"looks": len(looks), "detached": len(bare)},
        evidence=(),
        certainty="certain",
    )


@check(
    title="A term with weight 0",
    needs="terms and weights (watch)",
    cost=FLOATS,
    threshold="a weight that is 0 at every look",
    otherwise="a schedule that begins later; a term that is only looked at",
    refuted_by="a weight above 0 at a later step",
    remedy="say 'not optimised' wherever its curve is shown, and expect nothing of it",
)
def weight_of_zero(seen: Recording) -> Outcome:
    """Terms that are shown are optimised."""
    looks = [one for one in learned(seen) if one.weights]
    if not looks:
        return Lacks(what=f"terms and their weights: {WATCH}")
    zero = sorted(name for name in looks[-1].values if _weight(seen, name) == 0)
    if not zero:
        return Nothing(numbers={"terms": len(looks[-1].values)})
    return Detection(
        severity="note",
        statement=f"{_quoted(zero)} is not optimised: its weight is 0 at all of {len(looks)} looks",
        numbers={"looks": len(looks), "terms": len(zero)},
        evidence=(),
        certainty="certain",
    )


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _how(seen: Recording) -> str:
    """How to give the gradients of terms; or why they cannot be had."""
    name = next((one.by_hand for one in learned(seen) if one.by_hand), "")
    return (
        WATCH
        if not name
        else (
            f"the terms are computed by {name}, a torch.autograd.Function, whose backward pass "
            "is the loop's alone: the audit does not run it a second time"
        )
    )


def _gradients(seen: Recording) -> list[LossTerms]:
    return [one for one in learned(seen) if one.norms]


def _from_the_start(seen: Recording) -> frozenset[str]:
    """Terms that are 0 at first: distances from where training began, which small shares and pulling back belong to."""
    first = next(iter(learned(seen)), None)
    return frozenset() if first is None else frozenset(name for name, value in first.values.items() if value == 0)


@check(
    title="A term that decides nothing",
    needs="two terms with weights (watch) as tensors at four steps",
    cost=GRADIENTS,
    threshold="median share of weight x gradient norm below 0.1% of the sum over terms, where its weight is not 0; "
    "terms that are 0 at first, as distances from the start are, aside",
    otherwise="a penalty that grows later on; a term that acts on tensors outside the sample",
    refuted_by="the same training without the term ends elsewhere",
    remedy="compare gradients, not values: scale the weight until its share is what was meant, or leave the term out",
)
def gradient_shares(seen: Recording) -> Outcome:
    """Each term has a share of the gradient."""
    shares: dict[str, list[float]] = {}
    for one in _gradients(seen):
        others = _from_the_start(seen) | {NLL}
        pulls = {
            name: abs(one.weights.get(name, math.nan)) * norm for name, norm in one.norms.items() if name not in others
        }
        if len(pulls) > 1 and (whole := sum(pulls.values())) > 0 and math.isfinite(whole):
            for name, pull in pulls.items():
                if one.weights[name] != 0:  # a schedule may begin later
                    shares.setdefault(name, []).append(pull / whole)
    typical = {name: float(np.median(values)) for name, values in shares.items() if len(values) >= LEAST_LOOKS}
    if len(typical) < 2:
        return Lacks(what=f"gradients of two weighted terms at {LEAST_LOOKS} steps: {_how(seen)}")
    small = {name: share for name, share in typical.items() if share < 1e-3}
    if not small:
        return Nothing(numbers=typical)
    said = ", ".join(f"'{name}' {share:.2g}" for name, share in small.items())
    return Detection(
        severity="note",
        statement=f"share of the gradient that comes from {said}: it decides nothing",
        numbers=typical,
        evidence=(),
        certainty="likely",
    )


CONFLICT = -0.3


@check(
    title="Terms that work against each other",
    needs="two terms (watch) as tensors at four steps",
    cost=GRADIENTS,
    threshold="a cosine between the gradients of two weighted terms, times the signs of their weights, that is "
    "negative at every look, with a median below -0.3; terms that are 0 at first aside",
    otherwise="a penalty that is meant to hold the other back",
    refuted_by="cosines around 0 on other batches",
    remedy="look at what each of the two does alone; lower the weight of the one that is a means to an end",
)
def terms_in_conflict(seen: Recording) -> Outcome:
    """Terms do not pull apart."""
    cosines = _cosines(seen, plain=False)
    if not cosines:
        return Lacks(what=f"gradients of two terms at {LEAST_LOOKS} steps: {_how(seen)}")
    worst = _opposed(cosines)
    numbers = {f"cosine {first} / {second}": float(np.median(v)) for (first, second), v in cosines.items()}
    if not worst:
        return Nothing(numbers=numbers)
    said = "; ".join(f"'{a}' against '{b}' (median cosine {value:.2f})" for (a, b), value in worst.items())
    return Detection(
        severity="note", statement=f"gradients point apart: {said}", numbers=numbers, evidence=(), certainty="likely"
    )


@check(
    title="A term that works against the language model",
    needs="a term (watch) as a tensor at four steps of a model that is given token ids",
    cost=f"{GRADIENTS}; one more for the plain NLL",
    threshold="a cosine between its gradient, times the sign of its weight, and that of the plain next-token NLL that "
    "is negative at every look, with a median below -0.3; terms that are 0 at first aside",
    otherwise="a penalty that is meant to hold the model back; unlearning",
    refuted_by="the NLL of held-out text falls as fast as without the term",
    remedy="train with and without it and compare the plain NLL, not the total",
)
def term_against_nll(seen: Recording) -> Outcome:
    """No term pulls away from predicting the text."""
    cosines = _cosines(seen, plain=True)
    if not cosines:
        return Lacks(what=f"gradients of a term and of the NLL at {LEAST_LOOKS} steps: {_how(seen)}")
    numbers = {f"cosine {name}": float(np.median(values)) for (name, _), values in cosines.items()}
    worst = _opposed(cosines)
    if not worst:
        return Nothing(numbers=numbers)
    said = "; ".join(f"'{name}' (median cosine {value:.2f})" for (name, _), value in worst.items())
    return Detection(
        severity="warning",
        statement=f"its share of the loss raises the next-token NLL: {said}",
        numbers=numbers,
        evidence=(),
        certainty="likely",
    )


def _cosines(seen: Recording, *, plain: bool) -> dict[tuple[str, str], list[float]]:
    """By pair, with the plain NLL or without; weighted terms only, as many looks as are needed.

    Of the directions that the loss pulls in: a term whose weight is below 0 is raised.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for one in _gradients(seen):
        signs = {name: -1.0 if weight < 0 else 1.0 for name, weight in one.weights.items()}
        for pair, cosine in one.cosines.items():
            if (
                (NLL in pair) == plain
                and _from_the_start(seen).isdisjoint(pair)
                and all(_weight(seen, name) != 0 for name in pair)
            ):
                found.setdefault(pair, []).append(math.prod((cosine, *(signs.get(name, 1.0) for name in pair))))
    return {pair: values for pair, values in found.items() if len(values) >= LEAST_LOOKS}


def _opposed(cosines: Mapping[tuple[str, str], list[float]]) -> dict[tuple[str, str], float]:
    return {
        pair: float(np.median(values))
        for pair, values in cosines.items()
        if max(values) < 0 and np.median(values) < CONFLICT
    }
