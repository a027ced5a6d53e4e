"""Is the loss the one that was meant? Read off the gradient at the logits, whoever computed it."""

import numpy as np

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recording import ForwardRecord, Recording
from ontogeny.integrations.audit.supervision import (
    NEGLIGIBLE,
    NO_GRADIENT,
    next_tokens,
    real_tokens,
    shifted_matches,
    supervised,
    without_padding,
)
from ontogeny.integrations.audit.updates import PURE, Update, rescaled_later, updates

LEAST_TARGETS = 64


@check(
    title="Labels shifted otherwise than once",
    needs="64 targets",
    cost="two reductions over the gradient at the logits, at looked-at steps",
    threshold="positions are pulled towards the present token, the one before, or the one after the next, in 90% of "
    "cases or more; or the targets of nine in ten batches are their next tokens, but at other positions",
    otherwise="a model that is meant to copy, or to skip a token",
    refuted_by="the loss of a text of ever different tokens does not fall below that of guessing",
    remedy="shift once: logits[:, :-1] against ids[:, 1:]; a model that is given labels shifts them itself",
)
def label_shift(seen: Recording) -> Outcome:
    """Each position is pulled towards the next token."""
    looked = supervised(seen)
    matches = {shift: shifted_matches(looked, shift) for shift in _SHIFTS}
    count = matches[1][1]
    if count < LEAST_TARGETS:
        return Lacks(what=f"{LEAST_TARGETS} targets: {NO_GRADIENT}")
    shares = {shift: hit / max(n, 1) for shift, (hit, n) in matches.items()}
    numbers: dict[str, float | int | str] = {
        f"share_shift_{'back' if shift < 0 else shift}": share for shift, share in shares.items()
    }
    numbers["targets"] = count
    best = max(shares, key=lambda shift: (shares[shift], shift == 1))
    if best == 1 or shares[best] < 0.9 or shares[1] >= 0.9:
        if shares[1] >= 0.5:
            return Nothing(numbers=numbers)
        return _other_positions(looked, seen, numbers) or Lacks(what="targets that are tokens of the input")
    which, how = _SHIFTS[best]
    return Detection(
        severity="error",
        statement=f"{shares[best]:.0%} of {count} targets are the token {which}: labels are {how}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _other_positions(
    looked: list[ForwardRecord], seen: Recording, numbers: dict[str, float | int | str]
) -> Detection | None:
    """The right tokens at the wrong positions, as where logits and labels are laid flat along different axes."""
    same = []
    for one, real in zip(looked, without_padding(looked, seen.markers), strict=True):
        assert one.input_ids is not None
        assert one.targets is not None
        targets, tokens = one.targets.ids[one.targets.ids >= 0], one.input_ids[:, 1:][real[:, 1:]]
        same.append(np.array_equal(np.sort(targets), np.sort(tokens)))
    if np.mean(same) < 0.9:
        return None
    return Detection(
        severity="error",
        statement=f"the targets of {sum(same)} of {len(same)} batches are their next tokens "
        "all in all, but not at their positions: text and targets do not belong together",
        numbers=numbers,
        evidence=(),
        certainty="certain",
        remedy="lay logits [B, T, V] and labels [B, T] flat along the same axes, labels as they are and not transposed",
    )


_SHIFTS = {
    0: ("itself", "not shifted: it learns to copy the present token"),
    1: ("after it", "shifted once"),
    2: ("after the next", "shifted twice: it skips a token"),
    -1: ("before it", "shifted backwards: it learns to copy the token before"),
}
"""Places on: which token that is, and what is said of it."""


@check(
    title="Almost nothing supervised",
    needs="four looked-at forward passes",
    cost="two reductions over the gradient at the logits, at looked-at steps",
    threshold="less than 1% of the tokens that are not padding are targets: an error if some rows have none",
    otherwise="long prompts with answers of a word",
    refuted_by="labels that are not -100 at more places",
    remedy="look at the labels of one batch; a template that does not match masks everything",
)
def supervised_share(seen: Recording) -> Outcome:
    """Some tokens are trained on."""
    looked = [  # without an NLL, ids lie outside the width of what was returned: these are no logits
        one for one in seen.forwards if one.input_ids is not None and one.targets is not None and one.nll is not None
    ]
    if len(looked) < 4:
        return Lacks(what=f"four looked-at forward passes: {NO_GRADIENT}")
    targets = sum(int((one.targets.ids >= 0).sum()) for one in looked if one.targets)
    tokens = sum(int(real.sum()) for real in without_padding(looked, seen.markers))
    share = targets / max(tokens, 1)
    numbers = {"share": share, "targets": targets, "tokens": tokens}
    if share >= 0.01:
        return Nothing(numbers=numbers)
    every = all((one.targets.ids >= 0).any(axis=1).all() for one in looked if one.targets)
    return Detection(
        severity="warning" if every else "error",
        statement=f"{share:.1%} of {tokens} tokens are trained on",
        numbers=numbers,
        evidence=(),
        certainty="likely" if every else "certain",
    )


@check(
    title="Padding supervised",
    needs="a looked-at batch with padding, its attention mask or the padding token of tokenizer or config, and targets "
    "that are next tokens",
    cost="two reductions over the gradient at the logits, at looked-at steps",
    threshold="one or more targets that the attention mask calls padding, but for the first one behind a text where "
    "padding and end of text are one token; without a mask, in runs of the padding token behind the texts",
    otherwise="a mask that hides more than padding",
    refuted_by="labels of -100 wherever the mask is 0",
    remedy="give the model an attention mask, and labels[attention_mask == 0] = -100; where pad and end of text are "
    "one token, mask by place, not by id",
)
def padding_supervised(seen: Recording) -> Outcome:
    """No position is pulled towards padding."""
    looked = supervised(seen)
    padded = [pair for pair in zip(looked, without_padding(looked, seen.markers), strict=True) if not pair[1].all()]
    if not padded or not next_tokens(seen):
        return Lacks(
            what="a looked-at batch with padding, its attention mask or a padding token that is known, and "
            "targets that are next tokens"
        )
    wrong = total = 0
    for one, real in padded:
        assert one.targets is not None
        assert one.input_ids is not None
        pulled = one.targets.ids[:, :-1] >= 0
        weight, right = one.targets.weight[:, :-1], pulled & real[:, 1:]
        heavy = weight > (NEGLIGIBLE * np.median(weight[right]) if right.any() else 0.0)
        wrong += int((pulled & heavy & ~real[:, 1:] & (one.targets.ids[:, :-1] == one.input_ids[:, 1:])).sum())
        total += int(pulled.sum())
    numbers = {"padding": wrong, "targets": total}
    if not wrong:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{wrong} of {total} targets are padding: the loss falls by learning to pad",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="A loss that is not the mean over its tokens",
    needs="a loss that the model returns, and a gradient at the logits that is that of a cross entropy",
    cost="one cross entropy over the logits of looked-at steps",
    threshold="it differs by more than 1% from the mean NLL of its targets, and from their sum over the targets of the "
    "whole optimizer step (with labels of first tokens, which are no targets, counted or not: Hugging Face's Trainer "
    "counts them for some models), at most looked-at passes",
    otherwise="label smoothing, or terms added on purpose",
    refuted_by="the same value from a loop over the batch's tokens",
    remedy="sum over supervised tokens / number of supervised tokens",
)
def loss_is_the_mean(seen: Recording) -> Outcome:
    """The loss equals an independent mean over its tokens."""
    looked = supervised(seen, misfit=PURE)
    of_step, with_first = dict[int, int](), dict[int, int]()
    for one in looked:
        of_step[one.step] = of_step.get(one.step, 0) + _targets(one)
        with_first[one.step] = with_first.get(one.step, 0) + _targets(one) + _first_labels(one)
    pairs = [
        (one.loss, mean, {1.0, _targets(one) / of_step[one.step], _targets(one) / with_first[one.step]})
        for one in looked
        if one.loss is not None and (mean := _mean_nll(one))
    ]
    if not pairs:
        return Lacks(what="a loss that the model returns, of a cross entropy over next tokens")
    off = [(loss, mean) for loss, mean, shares in pairs if min(abs(loss - mean * one) for one in shares) > 0.01 * mean]
    numbers: dict[str, float | int | str] = {"differ": len(off), "passes": len(pairs)}
    if len(off) * 2 <= len(pairs):
        return Nothing(numbers=numbers)
    loss, mean = off[0]
    numbers |= {"loss": loss, "mean_nll": mean}
    return Detection(
        severity="warning",
        statement=f"the loss is {loss:.4g} where the mean over its tokens is {mean:.4g} "
        f"({len(off)} of {len(pairs)} passes)",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _targets(one: ForwardRecord) -> int:
    assert one.targets is not None
    return int((one.targets.ids >= 0).sum())


def _first_labels(one: ForwardRecord) -> int:
    """Labels of first tokens: a model shifts them away."""
    return 0 if one.labels is None else int((one.labels[:, 0] != -100).sum())


def _mean_nll(one: ForwardRecord) -> float | None:
    """Of the targets that are next tokens, in nats; None if fewer than most are."""
    assert one.input_ids is not None
    assert one.targets is not None
    if one.nll is None:
        return None
    pulled = one.targets.ids[:, :-1] >= 0
    right = pulled & (one.targets.ids[:, :-1] == one.input_ids[:, 1:])
    if not pulled.any() or right.sum() < 0.9 * pulled.sum():
        return None
    return float(np.nanmean(one.nll[:, 1:][right]))


LATER = "gradients that reach the optimizer as backward left them: they are made smaller in between"


@check(
    title="Accumulation not normalised",
    needs="two looked-at optimizer steps, each of two or more backward passes, of a pure cross entropy",
    cost="two reductions over the gradient at the logits, and norms of the gradients of eight tensors, at looked-at "
    "steps",
    threshold="a token weighs more than 1.5 times as much in one micro-batch of a step as in another, or the weights "
    "of a step, per forward pass of a micro-batch, add up to more than 1.5; what a GradScaler multiplies by is taken "
    "out",
    otherwise="micro-batches weighted on purpose",
    refuted_by="one large batch gives the same gradient as its micro-batches",
    remedy="divide each micro-batch's sum by the number of supervised tokens of the whole step",
)
def accumulation_normalised(seen: Recording) -> Outcome:
    """Micro-batches add up to one large batch."""
    several = [one for one in updates(seen) if len(one.passes) > 1]
    if len(several) < 2:
        return Lacks(what="two looked-at optimizer steps of two or more backward passes, of a pure cross entropy")
    total = float(np.median([one.total * len(one.passes) / len(one.forwards) for one in several]))
    spread = float(np.median([_spread(one) for one in several]))
    numbers = {"sum_of_weights": total, "spread": spread, "steps": len(several)}
    if total > 1.5:
        if rescaled_later(several, total):
            return Lacks(what=LATER)
        tokens = float(np.median([one.tokens for one in several]))
        how = f", of {tokens:.0f} tokens" if total > 0.5 * tokens else ""
        return Detection(
            severity="error",
            statement=f"the weights of a step's tokens add up to {total:.3g}{how}, not to "
            "1: micro-batches are summed without division",
            numbers=numbers,
            evidence=(),
        )
    if spread > 0.5:
        return Detection(
            severity="warning",
            statement=f"a token weighs {1 + spread:.3g} times as much in one micro-batch "
            "of a step as in another: means of means, not a mean over tokens",
            numbers=numbers,
            evidence=(),
        )
    return Nothing(numbers=numbers)


def _spread(update: Update) -> float:
    """How much more a token weighs in one micro-batch than in another; 0 where one has several forward passes."""
    if len(update.passes) < len(update.forwards):
        return 0.0
    weights = [one.targets.weight[one.targets.ids >= 0] for one in update.forwards if one.targets]
    means = [float(np.median(one)) for one in weights if len(one)]
    return max(means) / min(means) - 1 if means else 0.0


@check(
    title="A loss that grows with its batch",
    needs="four looked-at optimizer steps, each of one forward and one backward pass, of a pure cross entropy",
    cost="two reductions over the gradient at the logits, and norms of the gradients of eight tensors, at looked-at "
    "steps",
    threshold="the weights of a batch's tokens add up to their number (a sum over tokens), to that by row (a sum over "
    "the tokens of a row), or to another constant above 1.5 (a multiple of the mean), within 2%",
    otherwise="gradients that are divided after backward; a weight that is meant",
    refuted_by="the same loss for the same rows, twice",
    remedy="divide by the number of supervised tokens of the step: reduction='mean', or sum / count",
)
def loss_scale(seen: Recording) -> Outcome:
    """The loss is a mean over its tokens, in its gradient too."""
    single = [one for one in updates(seen) if len(one.forwards) == 1 and one.tokens]
    if len(single) < 4:
        return Lacks(what="four looked-at optimizer steps of one backward pass each, of a pure cross entropy")
    totals = np.array([one.total for one in single])
    tokens = np.array([one.tokens for one in single])
    rows = np.array(
        [int((one.forwards[0].targets.ids >= 0).any(axis=1).sum()) for one in single if one.forwards[0].targets]
    )
    total = float(np.median(totals))
    numbers: dict[str, float | int | str] = {
        "sum_of_weights": total,
        "tokens": float(np.median(tokens)),
        "rows": float(np.median(rows)),
        "steps": len(single),
    }
    if total <= 1.5:
        return Nothing(numbers=numbers)
    if rescaled_later(single, total):
        return Lacks(what=LATER)
    if _agree(totals, tokens):
        how = "it is the sum over tokens, undivided: the step grows with the batch and with the length of its rows"
    elif _agree(totals, tokens / rows):
        how = "it is a sum over the tokens of each row, divided by rows alone: the step grows with the rows' length"
    elif _agree(totals, np.full_like(totals, total)) and not seen.terms:
        return Detection(
            severity="note",
            statement=f"the weights of a batch's tokens add up to {total:.3g}: the loss is "
            f"{total:.3g} times the mean over its tokens",
            numbers=numbers,
            evidence=(),
            remedy="leave the factor out, unless it is meant: gradients, and what clipping does to them, grow with it",
        )
    else:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"the weights of a batch's {numbers['tokens']:.0f} tokens add up to {total:.3g}, not to 1: {how}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _agree(found: np.ndarray, expected: np.ndarray) -> bool:
    """Do nine in ten agree within 2%?"""
    return float((np.abs(found / expected - 1) < 0.02).mean()) >= 0.9


@check(
    title="Initial loss implausible",
    needs="the first forward and backward pass",
    cost="one cross entropy over the logits of looked-at steps",
    threshold="the first batch's mean NLL is above 1.5 x ln(vocabulary)",
    otherwise="an initialisation with large logits; text in a form that the model never saw",
    refuted_by="the loss of a pretrained model on ordinary text is far below ln(vocabulary)",
    remedy="compare the tokenizer with the model's, look at one batch as text, and at the labels",
)
def initial_loss(seen: Recording) -> Outcome:
    """Training does not begin worse than guessing."""
    first = next((one for one in supervised(seen, misfit=0.5) if one.step == 0 and one.nll is not None), None)
    if first is None or first.nll is None or not first.vocabulary:
        return Lacks(what=f"the first forward pass, and {NO_GRADIENT}")
    here = real_tokens(first, seen.markers)[:, 1:]
    found = float(first.nll[:, 1:][here].mean()) if here.any() else float("nan")
    guess = float(np.log(first.vocabulary))
    numbers = {"nll": found, "ln_vocabulary": guess}
    if not found > 1.5 * guess:
        return Nothing(numbers=numbers)
    return Detection(
        severity="note",
        statement=f"the first batch has an NLL of {found:.3g} nats, guessing {guess:.3g}",
        numbers=numbers,
        evidence=(),
        certainty="possible",
    )
