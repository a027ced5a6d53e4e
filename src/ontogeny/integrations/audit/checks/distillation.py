"""Is the teacher a teacher, and the distillation term a divergence from what it says, in its right size?"""

import numpy as np

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.observed import LogitPair
from ontogeny.integrations.audit.recording import Recording
from ontogeny.integrations.audit.teacher_logits import correlation_of, follows_tokens, softmax, vocabularies

NO_TEACHER = "audit.watch(teacher=…), another module than the student, that runs at a looked-at step"
NO_LOGITS = "audit.watch(teacher_logits=…) at looked-at steps, beside audit.watch(teacher=…)"
UNSCALED = "unscaled"
STEADY = 0.02
"""Spread of a ratio from step to step (standard deviation of its logarithm) that is one of a constant factor."""
LOGITS_HELD = "logits of student and teacher at 256 positions, held from forward pass to step"


@check(
    title="Teacher in train mode",
    needs="the teacher (watch)",
    cost="nothing",
    threshold="the teacher runs with dropout or batch norm in train mode",
    otherwise="a teacher that is meant to be noisy",
    refuted_by="equal logits when the teacher runs twice on the same ids",
    remedy="teacher.eval() after every model.train(), or keep the teacher outside the module that is put in train mode",
)
def teacher_in_train_mode(seen: Recording) -> Outcome:
    """The teacher runs as in evaluation."""
    passes = seen.distillation.passes
    if not passes:
        return Lacks(what=NO_TEACHER)
    wrong = [one for one in passes if one.dropout]
    numbers = {"in_train_mode": len(wrong), "passes": len(passes)}
    if not wrong:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"the teacher runs in train mode, with dropout, in {len(wrong)} of "
        f"{len(passes)} passes, first at step {wrong[0].step}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Teacher not detached",
    needs="the teacher (watch), and the end of the audit",
    cost="two passes over the teacher's weights",
    threshold="a gradient arrives at the teacher's logits, or its weights change, and it is not watched as ema, too",
    otherwise="a teacher that is trained together with the student",
    refuted_by="teacher parameters whose grad is None",
    remedy="run the teacher under torch.no_grad(), and set its requires_grad to False",
)
def teacher_not_detached(seen: Recording) -> Outcome:
    """Nothing is learned by the teacher."""
    found = seen.distillation
    if not found.passes or found.moved is None:
        return Lacks(what=NO_TEACHER)
    numbers = {"gradients": found.gradients, "passes": len(found.passes), "weights_changed": int(found.moved)}
    moved = found.moved and not found.is_average
    if not found.gradients and not moved:
        return Nothing(numbers=numbers)
    how = "its weights change" if moved else "a gradient arrives at its logits"
    return Detection(
        severity="error" if moved else "warning",
        statement=f"the teacher is not detached: {how}",
        numbers=numbers,
        evidence=(),
        certainty="certain" if found.gradients else "likely",
    )


@check(
    title="Teacher fed with the student's token ids",
    needs="the teacher and its tokenizer (watch), and the student's tokenizer",
    cost="nothing",
    threshold="the tokenizers differ, and the teacher is given the same ids as the student",
    otherwise="texts of tokens that both have in common",
    refuted_by="the teacher's input, decoded with its own tokenizer, is the text",
    remedy="tokenize each text with the teacher's own tokenizer, and align by characters",
)
def teacher_fed_with_other_ids(seen: Recording) -> Outcome:
    """The teacher reads ids of its own tokenizer."""
    tables = vocabularies(seen)
    fed = {one.step: one.input_ids for one in seen.forwards if one.input_ids is not None}
    pairs = [
        (fed[one.step], one.input_ids)
        for one in seen.distillation.passes
        if one.step in fed and one.input_ids is not None
    ]
    if tables is None or not pairs:
        return Lacks(what="audit.watch(teacher=…, teacher_tokenizer=…) and the student's tokenizer")
    student, teacher = tables
    names, others = ({at: token for token, at in table.items()} for table in tables)
    same = [mine for mine, theirs in pairs if np.array_equal(mine, theirs)]
    ids = np.unique(np.concatenate([mine.reshape(-1) for mine in same])) if same else np.empty(0, int)
    other = sum(names.get(int(one)) != others.get(int(one)) for one in ids)
    numbers = {"batches": len(pairs), "with_equal_ids": len(same), "ids": len(ids), "other_token": other}
    if not other:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"the teacher is given the student's ids, of which {other} of {len(ids)} "
        f"are other tokens to it (vocabularies of {len(student)} and {len(teacher)})",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Vocabularies compared by id",
    needs="the tokenizers of student and teacher, and logits of both (watch teacher, or teacher_logits); without "
    "tokenizers, only logits of unequal width tell",
    cost=LOGITS_HELD,
    threshold="more than 0.1% of the ids that both have are different tokens, and the compared logits do not follow "
    "tokens; or, without tokenizers, more than 1% of the teacher's probability lies on ids beyond the student's logits "
    "(an error where the compared logits are the teacher's, cut off there, else a note)",
    otherwise="tokenizers that write the same token in different ways",
    refuted_by="tokenizer.convert_ids_to_tokens of both agree",
    remedy="map the teacher's logits to the student's ids by token; tokens that one of them lacks get probability 0",
)
def vocabulary_by_id(seen: Recording) -> Outcome:
    """An id is the same token to student and teacher, or logits are mapped by token."""
    tables, pairs = vocabularies(seen), seen.distillation.pairs
    if tables is None and pairs:
        return _by_width(pairs)
    if tables is None or not pairs:
        return Lacks(what="audit.watch(teacher=…, teacher_tokenizer=…), the student's tokenizer, and logits of both")
    names, others = ({at: token for token, at in table.items()} for table in tables)
    both = [at for at in names if at in others]
    other = [at for at in both if names[at] != others[at]]
    numbers = {"ids": len(both), "other_token": len(other), "student": len(names), "teacher": len(others)}
    if len(other) <= 0.001 * len(both):
        return Nothing(numbers=numbers)
    moved = [(at, tables[1][names[at]]) for at in other if names[at] in tables[1]]
    followed = [follows_tokens(pair, moved) for pair in pairs if pair.target is not None and pair.teacher is not None]
    if any(followed):
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{len(other)} of {len(both)} ids are other tokens to the teacher than "
        "to the student, and logits are compared by id",
        numbers=numbers,
        evidence=(),
    )


def _by_width(pairs: list[LogitPair]) -> Outcome:
    """Without tokenizers: is a part of the teacher's probability cut off?"""
    wide = [(one, one.teacher if one.teacher is not None else one.target) for one in pairs]
    beyond = [
        (one, float(softmax(there)[:, one.student.shape[1] :].sum(axis=1).mean()))
        for one, there in wide
        if there is not None and there.shape[1] > one.student.shape[1]
    ]
    mass = float(np.mean([share for _, share in beyond])) if beyond else 0.0
    if mass <= 0.01:
        return Lacks(
            what="audit.watch(teacher_tokenizer=…) and the student's tokenizer: equal widths, or a few unused "
            "ids more, say nothing of what an id means"
        )
    cut = [
        one.teacher is not None
        and one.target is not None
        and one.target.shape == one.student.shape
        and correlation_of(one.target, one.teacher[:, : one.target.shape[1]]) > 0.99
        for one, _ in beyond
    ]
    first = beyond[0][0]
    teacher = first.teacher if first.teacher is not None else first.target
    assert teacher is not None
    numbers = {"student": first.student.shape[1], "teacher": teacher.shape[1], "mass_cut_off": mass}
    how = "are cut off at the student's" if all(cut) else "are cut off, if they are compared by id, at the student's"
    return Detection(
        severity="error" if all(cut) else "note",
        statement=f"the teacher has {teacher.shape[1]} logits, "
        f"which {how} {first.student.shape[1]}: {mass:.0%} of its probability lies beyond",
        numbers=numbers,
        evidence=(),
        certainty="likely" if all(cut) else "possible",
    )


@check(
    title="Mass on tokens that the teacher does not have",
    needs="the teacher and what the student's logits are compared with (watch teacher, teacher_logits)",
    cost=LOGITS_HELD,
    threshold="more than 1% of the target's probability lies on ids beyond the teacher's vocabulary",
    otherwise="a vocabulary that was padded to a round size on purpose",
    refuted_by="the target's probabilities beyond the teacher's vocabulary are 0",
    remedy="give missing ids probability 0 (logit -inf), not logit 0; compare over common tokens, renormalised",
)
def mass_on_missing_tokens(seen: Recording) -> Outcome:
    """The teacher's distribution lies on its own tokens."""
    pairs = [one for one in seen.distillation.pairs if one.target is not None and one.teacher is not None]
    if not pairs:
        return Lacks(what=NO_LOGITS)
    masses = []
    for one in pairs:
        assert one.target is not None
        assert one.teacher is not None
        masses.append(float(softmax(one.target)[:, one.teacher.shape[1] :].sum(axis=1).mean()))
    mass = float(np.mean(masses))
    numbers = {"mass": mass, "passes": len(masses)}
    if mass <= 0.01:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{mass:.0%} of the target's probability lies on tokens that the teacher does not have",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Distillation towards something else than the teacher",
    needs="the teacher and what the student's logits are compared with (watch teacher, teacher_logits)",
    cost=LOGITS_HELD,
    threshold="a gradient flows into the target, or it correlates below 0.9 with the teacher's logits; or it is the "
    "teacher's [:, 1:], and no gradient arrives at the student's last place",
    otherwise="a target that is made of several teachers, or corrected by labels",
    refuted_by="equal logits, up to a constant per position",
    remedy="take the teacher's own logits, under no_grad; a projection of states belongs into a feature term",
)
def target_not_the_teachers(seen: Recording) -> Outcome:
    """The student is compared with the teacher's own logits."""
    pairs = [one for one in seen.distillation.pairs if one.target is not None]
    if not pairs:
        return Lacks(what=NO_LOGITS)
    trainable = sum(one.target_trainable for one in pairs)
    alike = [
        correlation_of(one.target[:, : one.teacher.shape[1]], one.teacher[:, : one.target.shape[1]])
        for one in pairs
        if one.teacher is not None and one.target is not None
    ]
    numbers: dict[str, float | int | str] = {"passes": len(pairs), "with_gradient": trainable}
    correlation = float(np.median(alike)) if alike else float("nan")
    numbers["correlation"] = correlation
    if trainable:
        return Detection(
            severity="error",
            statement="what the student is compared with gets a gradient itself: it can come to the student",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    tables = vocabularies(seen)
    if not alike or (tables is not None and tables[0] != tables[1]):
        return Lacks(what="a teacher that runs at looked-at steps, with the student's vocabulary")
    shifted = [one.ends_pulled for one in pairs if one.ahead and one.ends_pulled is not None]
    if correlation >= 0.9 and shifted and not any(shifted):
        return Detection(
            severity="error",
            statement="what the student is compared with are the teacher's logits one place "
            "on: they are cut to [:, 1:], the student's to [:, :-1]",
            numbers=numbers,
            evidence=(),
            remedy="cut the logits of both alike: at the same place both predict the same token",
        )
    if correlation >= 0.9:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"what the student is compared with is not the teacher's logits (correlation {correlation:.2f})",
        numbers=numbers,
        evidence=(),
    )


@check(
    title="Distillation term out of scale",
    needs="its value and temperature (watch kd, temperature), and the teacher (watch) with the student's vocabulary, "
    "at four looked-at steps",
    cost=f"one divergence over these; {LOGITS_HELD}",
    threshold="its median ratio to the mean over valid positions x temperature² is above 3 or below 1/3, of KL, "
    "reverse KL, Jensen-Shannon divergence or soft cross entropy, whichever has the steadiest ratio: an error within a "
    "factor of 1.5 of a row's length or of 1 / vocabulary, else a warning if the ratio is the same at every step",
    otherwise="another divergence, or a weight inside the term",
    refuted_by="the value of a loop over positions",
    remedy="sum over valid positions / their number x temperature²: KLDivLoss(batchmean) over [B, L, V] is too large "
    "by L, mean too small by V; flatten to [B x L, V] first",
)
def kd_out_of_scale(seen: Recording) -> Outcome:
    """The distillation term equals an independent mean over positions."""
    ratios, pair = _ratios(seen)
    if pair is None or len(ratios) == 0 or min(len(each) for each in ratios.values()) < 4:
        return Lacks(what="audit.watch(kd=…, temperature=…) and logits of student and teacher at four looked-at steps")
    # The one that it is keeps its ratio from step to step; without the factor it is only if it fits.
    spreads = {name: float(np.std(np.log(each))) for name, each in ratios.items()}
    near = {name: float(np.median(ratios[name])) for name in ratios if spreads[name] <= min(spreads.values()) + 1e-3}
    plain = {name: value for name, value in near.items() if not name.endswith(UNSCALED) or 0.8 < value < 1.25}
    which = min(plain or near, key=lambda name: abs(np.log(near[name])))
    ratio = near[which]
    length, vocabulary = pair.length, pair.student.shape[1]
    numbers = {
        "ratio": ratio,
        "divergence": which,
        "passes": len(ratios[which]),
        "length": length,
        "vocabulary": vocabulary,
    }
    if 1 / 3 <= ratio <= 3:
        return Nothing(numbers=numbers)
    cause = _cause(list(near.values()), float(length), 1 / vocabulary)
    if cause is None and spreads[which] > STEADY:
        return Lacks(
            what="a term that keeps its ratio to KL, reverse KL, Jensen-Shannon divergence or soft cross "
            f"entropy from step to step: this one is {ratio:.3g} times {which}, give or take "
            f"{spreads[which]:.0%}"
        )
    return Detection(
        severity="warning" if cause is None else "error",
        statement=f"the distillation term is {ratio:.3g} times the mean over positions ({which}){cause or ''}",
        numbers=numbers,
        evidence=(),
        certainty="possible" if cause is None else "likely",
    )


def _cause(ratios: list[float], length: float, share: float) -> str | None:
    """What a ratio is near to, within a factor of 1.5."""
    causes = {
        length: f", near the length of a row, {length:g}: a sum over positions, divided by rows (batchmean)",
        share: f", near 1 / vocabulary, 1/{1 / share:.0f}: a mean over the vocabulary (mean)",
    }
    nearest = min(causes, key=lambda one: min(abs(np.log(ratio / one)) for ratio in ratios))
    return causes[nearest] if min(abs(np.log(ratio / nearest)) for ratio in ratios) <= np.log(1.5) else None


def _ratios(seen: Recording) -> tuple[dict[str, np.ndarray], LogitPair | None]:
    """Value of the term / each reference, by its name, over looked-at micro-batches; and one of these."""
    values: dict[int, list[float]] = {}
    for step, value in seen.watched.get("kd", ()):
        values.setdefault(step, []).append(value)
    found: dict[str, list[float]] = {}
    last = None
    for one in seen.distillation.pairs:
        value = values[one.step].pop(0) if values.get(one.step) else 0.0
        if value > 0 and one.references and min(one.references.values()) > 1e-6:
            last = one
            for name, reference in one.references.items():
                found.setdefault(name, []).append(value / reference)
    return {name: np.array(each) for name, each in found.items()}, last


@check(
    title="Distillation not least where student and teacher agree",
    needs="the function that computes the term from logits of student and teacher (watch kd_function)",
    cost="four calls of it on logits [2, 8, 32]",
    threshold="its gradient where both agree is more than 1% of that where they do not",
    otherwise="a term that also holds other things",
    refuted_by="the gradient is 0 for student = teacher",
    remedy="KL(softmax(teacher / T) || softmax(student / T)), both at the same positions, with log-probabilities of "
    "the student and probabilities of the teacher",
)
def kd_not_least_at_equality(seen: Recording) -> Outcome:
    """A student that says what the teacher says is left as it is."""
    share = seen.distillation.at_equality
    if share is None or np.isnan(share):
        return Lacks(what="audit.watch(kd_function=…) and the end of the audit")
    numbers = {"gradient_share": share}
    if share <= 0.01:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement="a student that equals its teacher is pulled away from it: the gradient "
        f"there is {share:.0%} of that "
        "elsewhere",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )
