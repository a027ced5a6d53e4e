"""Is the data what it is taken for: split, cut, indexed, packed and visited as its author thinks?"""

from collections import Counter

import numpy as np

from ontogeny.core.verdicts import Severity
from ontogeny.data.grams import GRAM_WORDS
from ontogeny.data.overlap import MAX_RATE
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recording import Recording
from ontogeny.integrations.audit.seen import LEAST_ROW
from ontogeny.integrations.audit.supervision import real_tokens, supervised

LEAST_ROWS = 16
LEAST_PAIRS = 16
LEAST_EVEN = 16
"""Ids that must have been seen before their counts are called even."""
UNLIKELY = 1e-6
MUCH = 0.05
"""Share of validation that makes its numbers worthless when it is trained on."""
LIKELIHOOD = 0.5
"""Misfit above which a gradient is not that of a likelihood: rows that reinforcement gives no advantage have none."""


@check(
    title="Validation text in the training text",
    needs="texts that are trained on, and texts that are evaluated on (watch)",
    cost="at the end, a sort of the runs of 13 words of at most 5 million characters of either: seconds",
    threshold="a text of 5 words or more stands in both, or more than 1% of the validation texts' different runs of 13 "
    "words stand in the training texts; runs that more than 1% of the training texts share do not count. An error from "
    "5% of validation on, a note for a single text of fewer than 13 words, else a warning",
    otherwise="quotations, licences, templates",
    refuted_by="the shared runs, read",
    remedy="split by document before cutting into examples, and remove duplicates first",
)
def validation_in_training(seen: Recording) -> Outcome:
    """Train and validation share no text."""
    found = seen.reread.shared
    if found is None:
        return Lacks(what="audit.watch(train_texts=…, validation_texts=…), and the end of the audit")
    numbers: dict[str, float | int | str] = {
        "exact": found.exact,
        "gram_rate": found.rate,
        "grams": found.grams,
        "validation_texts": found.texts,
    }
    if not found.exact and found.rate <= MAX_RATE:
        return Nothing(numbers=numbers)
    numbers["example"] = found.example
    share = max(found.exact_share, found.rate)
    numbers["share"] = share
    severity: Severity = "error" if share >= MUCH else "warning"
    if found.rate <= MAX_RATE and found.exact_different == 1 and found.longest_exact < GRAM_WORDS:
        severity = "note"
    return Detection(
        severity=severity,
        statement=f"{found.exact} of {found.texts} validation texts stand in the training "
        f"texts, and {found.rate:.1%} of their runs of {GRAM_WORDS} words: '{found.example}'",
        numbers=numbers,
        evidence=(),
        certainty="certain" if found.exact else "likely",
    )


@check(
    title="Two beginnings of text",
    needs="16 looked-at rows of token ids; a tokenizer, or a config, with a token that begins texts",
    cost="nothing",
    threshold="half of the rows or more begin with that token twice",
    otherwise="a token that is used for something else, too",
    refuted_by="the first ten ids of a batch",
    remedy="the template adds one already: tokenize with add_special_tokens=False",
)
def double_begin(seen: Recording) -> Outcome:
    """Rows begin with one beginning of text."""
    begin = seen.markers.begin
    rows = twice = 0
    for one in seen.forwards:
        if one.input_ids is None or (one.attention_mask is None and begin == seen.markers.pad):
            continue
        real = real_tokens(one)
        for ids, shown in zip(one.input_ids, real, strict=True):
            here = ids[shown][:2]
            rows += len(here) == 2
            twice += len(here) == 2 and bool((here == begin).all())
    if begin is None or rows < LEAST_ROWS:
        return Lacks(what=f"{LEAST_ROWS} looked-at rows, and a token that begins texts")
    numbers = {"rows": rows, "twice": twice}
    if twice * 2 < rows:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"{twice} of {rows} rows begin with the beginning of text twice",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Rows without a target",
    needs="16 looked-at rows",
    cost="two reductions over the gradient at the logits, at looked-at steps",
    threshold="5% of the rows or more, and at least two, have no target, while others have",
    otherwise="examples with an empty answer; rows that another loss is of",
    refuted_by="labels in these rows",
    remedy="cut prompts, not answers, at the maximum length; leave out examples whose answer does not fit",
)
def rows_without_targets(seen: Recording) -> Outcome:
    """Truncation leaves something to learn in each row."""
    rows = empty = full = 0
    looked = supervised(seen, misfit=LIKELIHOOD)
    widest = max((one.input_ids.shape[1] for one in looked if one.input_ids is not None), default=0)
    for one in looked:
        assert one.targets is not None
        real = real_tokens(one)
        none = np.asarray((one.targets.ids < 0).all(axis=1) & real.any(axis=1))
        if one.nll is not None:  # what is known to the last bit has no gradient either
            none &= (real & (np.nan_to_num(one.nll) > 0.05)).any(axis=1)
        rows += len(none)
        empty += int(none.sum())
        full += int((none & (real.sum(axis=1) == widest)).sum())
    if rows < LEAST_ROWS:
        return Lacks(what=f"{LEAST_ROWS} looked-at rows of a model that is given token ids")
    numbers = {"rows": rows, "without_targets": empty, "of_full_length": full, "full_length": widest}
    if empty < 2 or empty < 0.05 * rows:
        return Nothing(numbers=numbers)
    cut = (
        f"; {full} of these have the full length of {widest} tokens: truncation may have eaten the answer"
        if full
        else ""
    )
    return Detection(
        severity="warning",
        statement=f"{empty} of {rows} rows have no target{cut}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Documents see each other in a packed row",
    needs="the end of the audit, and a looked-at batch whose rows hold several documents: position ids that begin "
    "anew, or an end of text inside rows without padding",
    cost="at the end, two forward passes over four rows of a batch",
    threshold="with another first document, the NLL of the second one's tokens differs by more than 1e-3 nats on "
    "average (0.1 where weights have 16 bits)",
    otherwise="pretraining, where it is common practice and meant",
    refuted_by="equal NLL of the second document with any first one",
    remedy="position ids that begin anew at each document, with an attention that heeds them: flash attention, or a "
    "block mask; Hugging Face models make one of position ids only if called with use_cache=False and without a mask",
)
def packing_leaks(seen: Recording) -> Outcome:
    """The second document of a packed row does not depend on the first."""
    difference = seen.reruns.packed
    if difference is None:
        return Lacks(what="the end of an audit with a looked-at batch whose rows hold several documents")
    numbers = {"nats": difference.nats, "tokens": difference.tokens, "tolerance": difference.tolerance}
    if not difference.large:
        return Nothing(numbers=numbers)
    meant = seen.reruns.positions_begin_anew or _masks_some(seen)
    return Detection(
        severity="warning" if meant else "note",
        statement=f"in packed rows, the second document's NLL changes by {difference.nats:.3g} nats when the "
        "first one is replaced",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _masks_some(seen: Recording) -> bool:
    """Are there tokens, no padding, that are not trained on? So it is in fine-tuning."""
    looked = supervised(seen)
    targets = sum(int((one.targets.ids >= 0).sum()) for one in looked if one.targets)
    return targets < 0.9 * sum(int(real_tokens(one)[:, 1:].sum()) for one in looked)


@check(
    title="Index outside the examples, or clamped to the last",
    needs="ids that are numbers (watch, at every step), for two batches; better with the number of examples (watch), "
    "without which only clamping shows",
    cost="nothing",
    threshold="an id below 0 or not below the number of examples; or the largest one 5 times and 10 times as often as "
    "ids are seen on average; or three times more often than any other, where all others are seen equally often; or "
    "the three largest ids or more, and no others, come with the same row",
    otherwise="examples that are drawn with weights; a last batch that is filled up with its last example",
    refuted_by="the count of each id",
    remedy="build the index over the same split that it is used on; never clamp, raise instead",
)
def index_out_of_range(seen: Recording) -> Outcome:
    """Every id is that of an example."""
    ids = [one for _, batch in seen.watched.get("ids", ()) for one in batch]
    if len(seen.watched.get("ids", ())) < 2 or not all(one.lstrip("-").isdigit() for one in ids) or not ids:
        return Lacks(what="audit.watch(ids=…) with whole numbers at each step")
    numbers_seen = np.array([int(one) for one in ids])
    examples = seen.latest("examples")
    outside = int((numbers_seen < 0).sum() + (0 if examples is None else (numbers_seen >= int(examples)).sum()))
    counts = Counter(numbers_seen.tolist())
    largest = max(counts)
    times, second = counts[largest], max((count for one, count in counts.items() if one != largest), default=0)
    usual = (len(ids) - times) / max(len(counts) - 1, 1)
    numbers = {
        "ids": len(ids),
        "outside": outside,
        "largest": largest,
        "times": times,
        "usual_times": usual,
        "next_most_frequent": second,
    }
    if outside:
        return Detection(
            severity="error",
            statement=f"{outside} of {len(ids)} ids are below 0 or not below the number of examples",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    if _clamped(counts):
        return Detection(
            severity="error",
            statement=f"id {largest}, the largest one, is seen {times} times, others "
            f"{usual:.3g} times and {second} at most: larger ones are clamped to it",
            numbers=numbers,
            evidence=(),
        )
    if same := _largest_with_one_row(seen):
        return Detection(
            severity="error",
            statement=f"the {len(same)} largest ids, from {same[0]} on, come with one and "
            "the same row: ids are clamped later on",
            numbers=numbers,
            evidence=(),
        )
    if examples is None:
        return Lacks(
            what="the number of examples (audit.watch(examples=…)): nothing is clamped, and whether an id is "
            "beyond the last example is not known"
        )
    return Nothing(numbers=numbers)


def _clamped(counts: Counter[int]) -> bool:
    """Is the largest id seen more often than chance allows?

    A permutation shows every id equally often, give or take one, so that three times more is none of its doing: counts
    that are drawn spread as Poisson's do. Of drawn ones, ten times as often.
    """
    largest = max(counts)
    others = np.array([count for one, count in counts.items() if one != largest])
    if not len(others) or counts[largest] < 4:
        return False
    evenly = len(others) >= LEAST_EVEN and np.ptp(others) <= 1
    if evenly and counts[largest] >= others.max() + 3:
        return True
    return bool(counts[largest] >= 5 and counts[largest] >= 10 * others.mean())


def _largest_with_one_row(seen: Recording) -> list[int]:
    """The largest ids, three or more, if the model was given the same row of 8 tokens or more for all of them alone."""
    fed: dict[int, list[bytes]] = {}
    for one in seen.forwards:
        if one.input_ids is not None:
            real = real_tokens(one)
            fed.setdefault(one.step, []).extend(
                row[here].tobytes() if here.sum() >= LEAST_ROW else b""
                for row, here in zip(one.input_ids, real, strict=True)
            )
    named: dict[int, list[int]] = {}
    for step, batch in seen.watched.get("ids", ()):
        named.setdefault(step, []).extend(int(one) for one in batch)
    rows = {
        one: row
        for step, batch in named.items()
        if len(fed.get(step, ())) == len(batch)
        for one, row in zip(batch, fed[step], strict=True)
    }
    if not rows:
        return []
    last = rows[max(rows)]
    same = sorted(one for one, row in rows.items() if row and row == last)
    return same if len(same) >= 3 and same == sorted(rows)[-len(same) :] and len(same) < len(rows) else []


@check(
    title="Examples seen twice, or never, in an epoch",
    needs="ids (watch, at every step) and the number of examples (watch)",
    cost="nothing",
    threshold="an example comes back before all others but those of two batches were seen, in the first whole epoch, "
    "wherever that begins (a resume goes on inside one); or, of the ids before the first one that comes back, more "
    "come next than one in a million orders would bring back",
    otherwise="sampling with replacement or with weights; prompts that are repeated on purpose; several processes "
    "that share the examples",
    refuted_by="the ids of one epoch, sorted",
    remedy="shuffle a permutation of all examples once per epoch; on a resume, skip what was seen in this epoch",
)
def examples_in_an_epoch(seen: Recording) -> Outcome:
    """Every example is seen once before any is seen again."""
    from scipy.stats import hypergeom

    batches = [batch for _, batch in seen.watched.get("ids", ())]
    examples = seen.latest("examples")
    ids = [one for batch in batches for one in batch]
    if examples is None or len(ids) < 2:
        return Lacks(what="audit.watch(ids=…) at each step, and audit.watch(examples=…)")
    whole, slack = int(examples), 2 * max(len(batch) for batch in batches)
    before = _last_seen(ids)
    first = int(np.argmax(before >= 0)) if (before >= 0).any() else len(ids)
    different = len(set(ids))
    numbers = {"ids": len(ids), "examples": whole, "before_one_comes_back": first, "different": different}
    if first == len(ids) or first >= whole - slack:
        return Nothing(numbers=numbers)
    # What follows the first one that comes back: in a new order, as many of it were met before as chance has it.
    behind = ids[first + 1 : 2 * first]
    again = len(set(behind) & set(ids[:first]))
    numbers["of_the_next"], numbers["met_before"] = len(behind), again
    if hypergeom.sf(again - 1, max(whole, first), first, len(behind)) < UNLIKELY:
        never = f"; {whole - different} were never seen" if different < whole else ""
        return Detection(
            severity="warning",
            statement=f"after {first} of {whole} examples the same ones come again: "
            f"{again + 1} of the next {len(behind) + 1}{never}",
            numbers=numbers,
            evidence=(),
        )
    if _fits_a_whole_epoch(before, first, whole - slack):
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"example {ids[first]} comes back after {first} of {whole} examples, "
        "and no whole epoch begins there or before",
        numbers=numbers,
        evidence=(),
    )


def _last_seen(ids: list[str]) -> np.ndarray:
    """Place at which each id was seen last before: int64 [n]; -1 for the first time."""
    met: dict[str, int] = {}
    before = np.full(len(ids), -1, dtype=np.int64)
    for at, one in enumerate(ids):
        before[at] = met.get(one, -1)
        met[one] = at
    return before


def _fits_a_whole_epoch(before: np.ndarray, first: int, least: int) -> bool:
    """Is there a place, up to the first id that comes back, from which `least` ids (or all there are) differ?"""
    newest = np.maximum.accumulate(before)  # ids behind this place and up to here all differ
    starts = np.arange(first + 1)
    ends = np.minimum(starts + least, len(before))
    return bool((newest[ends - 1] < starts).any())


@check(
    title="Embeddings that belong to other texts",
    needs="16 batches' pairs of embeddings and texts (watch, at each step), and the function that makes the one of the "
    "other (watch encode)",
    cost="at the end, 256 texts embedded anew",
    threshold="fewer than 90% of the texts, embedded anew, are among the nearest 10% to the embedding that came with "
    "them",
    otherwise="another encoder, or another preparation of the text, than when the embeddings were made",
    refuted_by="rank 1 of each text's own embedding",
    remedy="keep an id with each embedding and join by it; an index that is local to a split is not one of the whole",
)
def pairing_broken(seen: Recording) -> Outcome:
    """Embedding i belongs to text i."""
    rank = seen.reread.own_rank
    if rank is None or len(rank) < LEAST_PAIRS:
        return Lacks(what=f"{LEAST_PAIRS} pairs from audit.watch(embeddings=…, texts=…), and audit.watch(encode=…)")
    n = len(rank)
    # Shuffled pairs have ranks uniform on 1 … n: mean (n + 1) / 2, standard error sqrt((n² - 1) / 12 / n).
    z = ((n + 1) / 2 - float(rank.mean())) / np.sqrt((n * n - 1) / 12 / n)
    near = float((rank <= 1 + 0.1 * n).mean())
    numbers = {"pairs": n, "median_rank": float(np.median(rank)), "share_near": near, "z_against_shuffled": float(z)}
    if near >= 0.9:
        return Nothing(numbers=numbers)
    word = "no better than shuffled pairs" if z <= 3.1 else f"near for {near:.0%} only"
    return Detection(
        severity="error",
        statement=f"texts embedded anew find their own embedding at a median rank of "
        f"{np.median(rank):g} among {n}: {word}",
        numbers=numbers,
        evidence=(),
    )
