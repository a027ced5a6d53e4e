"""Do adapters do what they are there for, and nothing else?"""

import numpy as np

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recording import Recording


@check(
    title="Injected vectors elsewhere",
    needs="vectors and their positions before a forward pass (watch injected, positions)",
    cost="one comparison of the vectors with the embeddings of the batch, at looked-at steps",
    threshold="a vector does not stand at its position (within 1% of its length), stands at another one, or is hidden "
    "by the attention mask",
    otherwise="a scale or a norm between the vector and the embeddings",
    refuted_by="inputs_embeds at these positions equals the vectors",
    remedy="count positions after padding and template; one index for vectors and rows",
)
def injected_elsewhere(seen: Recording) -> Outcome:
    """Injected vectors reach exactly their positions."""
    found = seen.adapters.injections
    if not found:
        return Lacks(what="audit.watch(injected=…, positions=…) before a looked-at forward pass")
    vectors = sum(one.vectors for one in found)
    missing = sum(one.vectors - one.reached for one in found)
    elsewhere, hidden = sum(one.elsewhere for one in found), sum(one.hidden for one in found)
    numbers = {"vectors": vectors, "missing": missing, "elsewhere": elsewhere, "hidden": hidden}
    if not missing and not elsewhere and not hidden:
        return Nothing(numbers=numbers)
    words = [
        f"{count} {word}"
        for count, word in (
            (missing, "do not stand at their position"),
            (elsewhere, "stand at another one"),
            (hidden, "are hidden by the attention mask"),
        )
        if count
    ]
    return Detection(
        severity="error",
        statement=f"of {vectors} injected vectors, {', '.join(words)}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Two runs in one step disagree",
    needs="the adapter (watch)",
    cost="a fingerprint of the adapter's inputs and outputs at looked-at steps",
    threshold="a run in train mode gives another output for the same input than before, with no backward pass between",
    otherwise="two masks on purpose, as R-Drop and SimCSE have them",
    refuted_by="equal outputs with dropout 0",
    remedy="run it once and use the output twice",
)
def dropout_disagrees(seen: Recording) -> Outcome:
    """What runs twice in a step says the same twice."""
    runs, repeated, off = seen.adapters.runs, seen.adapters.repeated, seen.adapters.disagreeing
    if not runs:
        return Lacks(what="audit.watch(adapter=…), in train mode")
    numbers = {"runs": runs, "repeated": repeated, "disagreeing": off}
    if not off:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"{off} of {repeated} repeated runs on the same input in one step give "
        "another output: under another dropout mask",
        numbers=numbers,
        evidence=(),
    )


@check(
    title="Frozen tensors that change",
    needs="tensors without requires_grad when the audit begins, or later, and an optimizer step",
    cost="one pass over the weights at the beginning and one at the end, and some numbers of frozen tensors at "
    "looked-at steps",
    threshold="a tensor that is never seen with requires_grad has other bits at the end, and is no moving average of a "
    "trained one; or an optimizer step changes a tensor whose requires_grad was switched off",
    otherwise="a part that was trained by hand",
    refuted_by="equal bits before and after",
    remedy="leave frozen tensors out of the optimizer and of averages; look for tied weights and in-place changes",
)
def frozen_changes(seen: Recording) -> Outcome:
    """Frozen tensors stay as they were."""
    if seen.tensors is None or not seen.steps:
        return Lacks(what="an optimizer step, and the end of the audit")
    late = sorted(seen.adapters.moved_frozen)
    frozen = seen.tensors.frozen_at_start - seen.tensors.trainable - seen.adapters.unfrozen
    moved = sorted((frozen & seen.tensors.moved) - seen.adapters.averages)
    numbers = {"frozen": len(frozen), "changed": len(moved), "moved_when_switched_off": len(late)}
    if late:
        return Detection(
            severity="error",
            statement=f"the optimizer goes on moving {len(late)} tensors whose "
            f"requires_grad was switched off: {_first(late)}",
            numbers=numbers,
            evidence=(),
            certainty="certain",
            remedy="zero_grad(set_to_none=True), or p.grad = None, where a tensor is "
            "frozen: momentum and weight decay act on all that has a gradient, if of zeros",
        )
    if not frozen:
        return Lacks(what="frozen tensors")
    if not moved:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{len(moved)} of {len(frozen)} frozen tensors have changed: {_first(moved)}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@check(
    title="Branch against residual",
    needs="layers of a low-rank adapter, or branches and residuals (watch branches), at a looked-at step",
    cost="two norms per branch and forward pass at looked-at steps; of low-rank adapters at most 64 branches",
    threshold="at the last look, the median branch is more than 10 times as large as the residual that it is added "
    "to; or branches are 0 after ten optimizer steps",
    otherwise="a branch that is meant to replace what it is added to",
    refuted_by="root mean squares of both outputs",
    remedy="begin with a last layer of zeros, or scale the branch; a norm after the sum fixes its size, not the ratio",
)
def branch_ratio(seen: Recording) -> Outcome:
    """A branch adds to what it is added to, neither drowning it nor absent."""
    found = seen.adapters.branches
    if not found:
        return Lacks(what="a low-rank adapter, or audit.watch(branches=…)")
    last: dict[str, tuple[int, float]] = {one.name: (one.step, one.ratio) for one in found}
    first: dict[str, float] = {one.name: one.ratio for one in reversed(found)}
    ratios = {name: ratio for name, (_, ratio) in last.items()}
    middle = float(np.median(list(ratios.values())))
    largest = max(ratios, key=lambda name: ratios[name])
    zero = [name for name, (step, ratio) in last.items() if not ratio and step >= 10]
    numbers: dict[str, float | int | str] = {
        "branches": len(ratios),
        "median_ratio": middle,
        "median_at_first": float(np.median(list(first.values()))),
        "largest_ratio": ratios[largest],
        "largest": largest,
        "zero": len(zero),
    }
    if middle > 10:
        return Detection(
            severity="warning",
            statement=f"the branch is {middle:.3g} times as large as the residual that it is added to: it replaces it",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    if zero:
        return Detection(
            severity="warning",
            statement=f"{len(zero)} of {len(ratios)} branches still give 0 ({zero[0]})",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    return Nothing(numbers=numbers)
