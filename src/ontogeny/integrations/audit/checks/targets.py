"""Which tokens are trained on, and how hard: ends of text, prompts, boilerplate, single examples; padding."""

from collections import Counter

import numpy as np

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.observed import OutputDifference
from ontogeny.integrations.audit.recording import ForwardRecord, Recording
from ontogeny.integrations.audit.supervision import NEGLIGIBLE, NO_GRADIENT, next_tokens, supervised, without_padding
from ontogeny.integrations.audit.updates import updates

LEAST_ROWS = 16
READ_OFF = "two reductions over the gradient at the logits, at looked-at steps"
RUN_AGAIN = "at the end, at most nine forward passes over four rows of a batch"


@check(
    title="Rows that depend on their batch",
    needs="the end of the audit, and a looked-at batch of token ids",
    cost=RUN_AGAIN,
    threshold="the NLL of a row's tokens alone differs from that in its batch by more than 1e-3 nats on average (0.1 "
    "where weights have 16 bits)",
    otherwise="experts with a capacity per batch; normalisation over the batch",
    refuted_by="equal NLL for a row alone and in a batch",
    remedy="pass the attention mask; where positions are absolute and padding stands on the left, pass "
    "position_ids = attention_mask.cumsum(-1) - 1; pad on the right to train",
)
def row_depends_on_batch(seen: Recording) -> Outcome:
    """A row's NLL is the same alone, without padding, as in its batch."""
    return _rerun(seen, seen.reruns.alone, "alone and without padding")


@check(
    title="Rows that depend on padding",
    needs="the end of the audit, and a looked-at batch of token ids",
    cost=RUN_AGAIN,
    threshold="eight further places of padding change the NLL by more than 1e-3 nats on average (0.1 where weights "
    "have 16 bits)",
    otherwise="a mask that means something else to this model",
    refuted_by="equal NLL with and without further padding",
    remedy="pass the attention mask, and position_ids that do not count padding",
)
def row_depends_on_padding(seen: Recording) -> Outcome:
    """A batch's NLL is the same with more padding."""
    return _rerun(seen, seen.reruns.padded, "padded further", lacks=seen.reruns.padded_lacks)


def _rerun(seen: Recording, difference: OutputDifference | None, how: str, *, lacks: str = "") -> Outcome:
    if difference is None:
        return Lacks(what=lacks or seen.reruns.lacks)
    if any(one.time_first for one in seen.forwards):
        return Lacks(what="a model whose first axis is the batch: its targets run down the first axis")
    numbers = {"nats": difference.nats, "tokens": difference.tokens, "tolerance": difference.tolerance}
    if not difference.large:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{how}, the same tokens have an NLL that differs by {difference.nats:.3g} nats on average",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Softmax taken twice",
    needs="four looked-at forward passes, with a gradient at the logits",
    cost=READ_OFF,
    threshold="in nine of ten, the gradient at the logits is that of a cross entropy of probabilities (within 10%), "
    "whose tokens weigh the same (a fifth as uneven as they would weigh in one of logits, or less)",
    otherwise="an expected reward, or another loss that is meant to be of probabilities",
    refuted_by="the loss of a model that is sure and right is near 0",
    remedy="give F.cross_entropy logits: it takes the softmax itself; F.nll_loss wants log-probabilities",
)
def softmax_twice(seen: Recording) -> Outcome:
    """The cross entropy is one of logits."""
    looked = supervised(seen, misfit=float("inf"))
    if len(looked) < 4:
        return Lacks(what=f"four looked-at forward passes: {NO_GRADIENT}")
    twice = [one.targets.of_probabilities < 0.2 for one in looked if one.targets is not None]
    numbers = {"passes": len(twice), "of_probabilities": sum(twice)}
    if sum(twice) < 0.9 * len(twice):
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement="the loss is a cross entropy of probabilities, which go through a softmax "
        "again: its gradient is a fraction of what it should be, and vanishes where the model is wrong",
        numbers=numbers,
        evidence=(),
    )


@check(
    title="Tokens that are seen before they are predicted",
    needs="the end of the audit, and a looked-at batch of token ids whose targets are the next tokens, eight or more "
    "in a row",
    cost=RUN_AGAIN,
    threshold="other tokens in the later half of what is learned change the NLL of those before it by more than 1e-3 "
    "nats on average (0.1 where weights have 16 bits)",
    otherwise="experts that choose their tokens, or have a capacity per batch",
    refuted_by="equal logits of a row and of its beginning alone",
    remedy="a causal mask in each layer that mixes places: is_causal=True, or a mask above the diagonal; convolutions "
    "that are padded on the left",
)
def sees_the_future(seen: Recording) -> Outcome:
    """What is predicted is not seen before."""
    found = seen.reruns.future
    if found is None:
        known = any(one.targets is not None for one in seen.forwards)
        return Lacks(
            what="a batch whose targets are the next tokens, eight or more in a row"
            if seen.reruns.alone is not None and known
            else seen.reruns.lacks
        )
    numbers = {"nats": found.nats, "tokens": found.tokens, "tolerance": found.tolerance}
    if not found.large:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement="the model sees later tokens: where these are replaced, the NLL of "
        f"earlier ones differs by {found.nats:.3g} nats on average",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Loss divided by padding",
    needs="eight looked-at optimizer steps of a pure cross entropy whose share of targets differs by 5% or more",
    cost=READ_OFF,
    threshold="a step's weights add up to its share of targets times a constant of at most 2 (within 1%), not to a "
    "constant",
    otherwise="examples weighted on purpose by their length",
    refuted_by="the same loss for the same rows in a wider batch",
    remedy="divide by the number of supervised tokens, not by that of all places",
)
def divided_by_padding(seen: Recording) -> Outcome:
    """The weight of a token does not shrink with padding and prompts around it."""
    looked = [one for one in updates(seen) if one.tokens]
    places = [sum(one.targets.ids.size for one in step.forwards if one.targets) for step in looked]
    totals = [one.total for one in looked]
    shares = [one.tokens / size for one, size in zip(looked, places, strict=True)]
    if len(totals) < 8 or max(shares) < 1.05 * min(shares):
        return Lacks(what="eight looked-at steps of a pure cross entropy, with padding or prompts of different size")
    constant, proportional = _spread(np.array(totals)), _spread(np.array(totals) / np.array(shares))
    numbers = {"spread_of_sums": constant, "spread_of_sums_by_share": proportional, "steps": len(totals)}
    # Divided by all places, the weights add up to the share of targets; a sum, to many times that.
    if constant < 0.03 or proportional > 0.01 or np.median(np.array(totals) / np.array(shares)) > 2:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement="the loss is divided by all places of a batch, padding and prompts "
        "included: the more of them, the smaller the step",
        numbers=numbers,
        evidence=(),
    )


def _spread(values: np.ndarray) -> float:
    return float(values.max() / values.min() - 1)


@check(
    title="End of text never a target",
    needs="16 looked-at rows with padding behind them, whose targets are next tokens; the tokenizer, or a config with "
    "an end-of-text token",
    cost=READ_OFF,
    threshold="no target is an end-of-text token",
    otherwise="a model that is not meant to stop by itself, or stops at another token",
    refuted_by="generation ends by itself",
    remedy="append the end-of-text token to every row; where it is the padding token, too, mask labels by the "
    "attention mask, not by the token's id",
)
def no_end_of_text(seen: Recording) -> Outcome:
    """Where rows end, the end is trained on."""
    ended = present = ends = 0
    looked = supervised(seen)
    for one, real in zip(looked, without_padding(looked, seen.markers), strict=True):
        assert one.input_ids is not None
        assert one.targets is not None
        short = ~real[:, -1] & real.any(axis=1)  # what ends at the last place may have been cut there
        ended += int(short.sum())
        inside = np.isin(one.input_ids, list(seen.markers.ends)) & real
        present += int((inside.any(axis=1) & short).sum())
        ends += int(np.isin(one.targets.ids, list(seen.markers.ends)).sum())
    if not seen.markers.ends or ended < LEAST_ROWS or not next_tokens(seen):
        return Lacks(
            what=f"{LEAST_ROWS} looked-at rows that end before their batch, with an attention mask or a known "
            "padding token, an end-of-text token, and targets that are next tokens"
        )
    numbers = {"rows_that_end": ended, "rows_with_end_of_text": present, "end_of_text_targets": ends}
    if ends:
        return Nothing(numbers=numbers)
    how = "stands in the text and is masked out of the targets" if present else "does not stand in the text"
    return Detection(
        severity="warning",
        statement=f"{ended} rows end, and the end-of-text token is never a target: it {how}",
        numbers=numbers,
        evidence=(),
    )


@check(
    title="Prompt supervised",
    needs="the prompts' lengths (watch), or labels that the model is given; four looked-at forward passes",
    cost=READ_OFF,
    threshold="more than 1% of the prompt's tokens are targets: nine in ten of what pulls there, a tenth as hard as "
    "elsewhere or more, is towards the next token (a divergence from another model pulls towards others)",
    otherwise="a model that is to write prompts, too",
    refuted_by="no gradient at the prompt's positions",
    remedy="labels of -100 on all of the prompt: mask by its number of tokens, not by its first line",
)
def prompt_supervised(seen: Recording) -> Outcome:
    """The prompt is not trained on."""
    wrong = pulled = total = 0
    looked = supervised(seen)
    kept = without_padding(looked, seen.markers)
    for one, prompt, real in zip(looked, _prompts(seen, looked, kept), kept, strict=True):
        if prompt is None:
            continue
        assert one.targets is not None
        assert one.input_ids is not None
        inside = prompt[:, 1:] & real[:, 1:]
        ids, weight = one.targets.ids[:, :-1], one.targets.weight[:, :-1]
        answer = (ids >= 0) & real[:, 1:] & ~inside
        heavy = inside & (ids >= 0) & (weight > (NEGLIGIBLE * np.median(weight[answer]) if answer.any() else 0.0))
        pulled += int(heavy.sum())
        wrong += int((heavy & (ids == one.input_ids[:, 1:])).sum())
        total += int(inside.sum())
    if not total:
        return Lacks(what="audit.watch(prompt_lengths=…) before each step, or labels that the model is given")
    numbers = {"supervised": wrong, "prompt_tokens": total}
    if wrong <= 0.01 * total or wrong < 0.9 * pulled:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{wrong} of {total} tokens of the prompts are trained on",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _prompts(seen: Recording, looked: list[ForwardRecord], kept: list[np.ndarray]) -> list[np.ndarray | None]:
    """Which tokens are prompt, bool [B, T], of each forward pass: as watched, else all before the first label."""
    watched: dict[int, list[np.ndarray]] = {}
    for step, lengths in seen.watched.get("prompt_lengths", ()):
        watched.setdefault(step, []).append(np.asarray(lengths).reshape(-1))
    found: list[np.ndarray | None] = []
    for one, real in zip(looked, kept, strict=True):
        place = real.cumsum(axis=1) - 1
        waiting = watched.get(one.step)
        if watched:
            lengths = waiting.pop(0) if waiting else None
            known = lengths is not None and len(lengths) == len(real)
            found.append(real & (place < lengths[:, None]) if known and lengths is not None else None)
        elif one.labels is not None:
            found.append(~np.logical_or.accumulate(one.labels != -100, axis=1))
        else:
            found.append(None)
    return found


@check(
    title="Boilerplate supervised",
    needs="16 looked-at rows with different targets that are next tokens",
    cost=READ_OFF,
    threshold="the targets of 90% of the rows begin with the same 8 tokens or more, and these are 5% of all targets",
    otherwise="answers that are meant to begin alike",
    refuted_by="different beginnings when more examples are looked at",
    remedy="mask all of the prompt and its template, not only its first line",
)
def boilerplate_supervised(seen: Recording) -> Outcome:
    """What is trained on does not begin with the same words in every row."""
    rows: set[tuple[int, ...]] = set()
    for one in supervised(seen):
        assert one.targets is not None
        rows |= {tuple(ids[ids >= 0].tolist()) for ids in one.targets.ids if (ids >= 0).any()}
    if len(rows) < LEAST_ROWS or not next_tokens(seen):
        return Lacks(what=f"{LEAST_ROWS} looked-at rows with different targets that are next tokens")
    same = _common_beginning(list(rows), 0.9)
    total = sum(len(row) for row in rows)
    numbers = {"same_tokens": same, "rows": len(rows), "share_of_targets": same * len(rows) / total}
    if same < 8 or numbers["share_of_targets"] < 0.05:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"the targets of nine in ten of {len(rows)} rows begin with the same "
        f"{same} tokens, {numbers['share_of_targets']:.0%} of all: the loss falls by learning them",
        numbers=numbers,
        evidence=(),
    )


def _common_beginning(rows: list[tuple[int, ...]], share: float) -> int:
    """Tokens at the beginning that this share of the rows have in common."""
    alike, depth = rows, 0
    while True:
        (token, count), *_ = Counter(row[depth] if len(row) > depth else -1 for row in alike).most_common(1)
        if token == -1 or count < share * len(rows):
            return depth
        alike = [row for row in alike if len(row) > depth and row[depth] == token]
        depth += 1


@check(
    title="Outlying examples",
    needs="32 looked-at rows of 8 targets or more",
    cost=READ_OFF,
    threshold="a row's mean NLL stands more than 10 robust standard deviations, and 1 nat, above the rows around it",
    otherwise="rare but right examples: another language, code, numbers",
    refuted_by="the example, read as text",
    remedy="read these examples: broken encoding, a swapped pair, or text in another form than the rest",
)
def outlying_examples(seen: Recording) -> Outcome:
    """No example is far harder than all others."""
    rows = [(one.step, row, value) for one in supervised(seen) for row, value in _row_nll(one)]
    if len(rows) < 32:
        return Lacks(what="32 looked-at rows of 8 targets or more")
    step, value = np.array([row[0] for row in rows]), np.array([row[2] for row in rows])
    order = np.argsort(step, kind="stable")
    step, value = step[order], value[order]
    off = _above_neighbours(value)
    scale = max(1.4826 * float(np.median(np.abs(off - np.median(off)))), 1e-6)
    robust = off / scale
    far = np.flatnonzero((robust > 10) & (off > 1))
    numbers: dict[str, float | int | str] = {"rows": len(rows), "largest_z": float(robust.max()), "outliers": len(far)}
    if not len(far):
        return Nothing(numbers=numbers)
    worst = far[np.argsort(-robust[far])][:3]
    named = ", ".join(f"step {step[at]} row {rows[int(order[at])][1]}: {value[at]:.3g} nats" for at in worst)
    return Detection(
        severity="note",
        statement=f"{len(far)} of {len(rows)} examples are far harder than those around them ({named})",
        numbers=numbers,
        evidence=(),
        certainty="possible",
    )


def _above_neighbours(value: np.ndarray, width: int = 16) -> np.ndarray:
    """How far each value stands above the higher one of the medians before and behind it; 0 for the first four.

    So a loss that falls makes no outliers.
    """
    found = np.zeros(len(value))
    for at in range(4, len(value)):
        behind = value[at + 1 : at + 1 + width]
        before = np.median(value[max(0, at - width) : at])
        found[at] = value[at] - max(before, np.median(behind) if len(behind) else before)
    return found


def _row_nll(one: ForwardRecord) -> list[tuple[int, float]]:
    """Row and mean NLL over its targets in nats, of rows with enough of them."""
    assert one.targets is not None
    if one.nll is None:
        return []
    pulled = one.targets.ids[:, :-1] >= 0
    return [(row, float(one.nll[row, 1:][pulled[row]].mean())) for row in range(len(pulled)) if pulled[row].sum() >= 8]
