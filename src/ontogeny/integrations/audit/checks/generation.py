"""Is what generation is given, and what is made of it, what its author thinks?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ontogeny.data.grams import words_of
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recorder_generation import ends_in_padding
from ontogeny.integrations.audit.recording import Recording

GRAM = 8
"""Words or tokens in a row that are looked for."""
LEAST_PAIRS = 4
MOST_TEXTS = 64
FREE = "nothing in the loop: texts or ids that are watched are compared at the end"


def rows_of(value: Any) -> list[Any]:
    """Texts or lists of ids: of a list, a tensor or array [B, T], or what a tokenizer returns."""
    if isinstance(value, Mapping):
        value = value["input_ids"]
    if isinstance(value, str):
        return [value]
    rows = value.tolist() if hasattr(value, "tolist") else list(value)
    if rows and isinstance(rows[0], int):
        return [rows]
    return [row if isinstance(row, str) else [int(i) for i in row] for row in rows]


def watched_rows(seen: Recording, name: str) -> list[Any]:
    """All rows that were watched under a name, in order."""
    return [row for _, value in seen.watched.get(name, ()) for row in rows_of(value)]


def _units(row: Any, seen: Recording) -> list[Any]:
    """Words of a text; ids of tokens without padding and masks."""
    if isinstance(row, str):
        return words_of(row)
    padding = seen.special.of("pad") - seen.special.of("eos") if seen.special is not None else frozenset()
    return [i for i in row if i >= 0 and i not in padding]


def _alike(rows: list[Any], others: list[Any], seen: Recording) -> tuple[list[Any], list[Any]]:
    """Both as texts, if one of them is and the other can be decoded."""
    kinds = {isinstance(row, str) for row in (*rows, *others)}
    if len(kinds) < 2 or seen.tokenizer is None:
        return rows, others
    return [_text(row, seen) for row in rows], [_text(row, seen) for row in others]


def _text(row: Any, seen: Recording) -> str:
    if isinstance(row, str):
        return row
    return str(seen.tokenizer.decode([i for i in row if i >= 0], skip_special_tokens=True))


@check(
    title="The reference stands in the prompt",
    needs="prompts and references (watch), four pairs with references of 8 words or tokens or more",
    cost=FREE,
    threshold="in half of the pairs or more, 90% of the reference's runs of 8 words or tokens stand in its prompt",
    otherwise="a task of copying, or references cut out of the text that the prompt quotes",
    refuted_by="prompts that end where the answer is to begin",
    remedy="cut the prompt before the reference; what follows it must not be graded as if it were the answer",
)
def reference_in_prompt(seen: Recording) -> Outcome:
    """Generation does not start behind the answer."""
    prompts, references = _alike(watched_rows(seen, "prompts"), watched_rows(seen, "references"), seen)
    if len(prompts) != len(references):
        return Lacks(what=f"as many prompts as references: {len(prompts)} and {len(references)} are watched")
    pairs = [(_units(a, seen), _units(b, seen)) for a, b in zip(prompts, references, strict=True)]
    pairs = [(prompt, reference) for prompt, reference in pairs if len(reference) >= GRAM]
    if len(pairs) < LEAST_PAIRS:
        return Lacks(what="audit.watch(prompts=…, references=…): four pairs, references of 8 words or tokens or more")
    contained = np.array([_containment(prompt, reference) for prompt, reference in pairs])
    at_end = sum(prompt[-len(reference) :] == reference for prompt, reference in pairs)
    inside = int((contained >= 0.9).sum())
    numbers = {"pairs": len(pairs), "inside": inside, "at_its_end": at_end, "mean_share": float(contained.mean())}
    if inside * 2 < len(pairs):
        return Nothing(numbers=numbers)
    place = f", {at_end} at their end" if at_end else ""
    return Detection(
        severity="error",
        statement=f"{inside} of {len(pairs)} prompts contain their reference{place}: what "
        "is generated and graded comes after it",
        numbers=numbers,
        evidence=(),
        certainty="certain" if at_end * 2 >= len(pairs) else "likely",
    )


def _containment(prompt: Sequence[Any], reference: Sequence[Any]) -> float:
    """Share of the reference's runs of 8 that stand in the prompt."""
    there = {tuple(prompt[i : i + GRAM]) for i in range(len(prompt) - GRAM + 1)}
    runs = [tuple(reference[i : i + GRAM]) for i in range(len(reference) - GRAM + 1)]
    return sum(run in there for run in runs) / len(runs)


@check(
    title="Special tokens that do not agree",
    needs="a tokenizer, and a model with a config",
    cost="nothing",
    threshold="an end, beginning or padding id of config or generation config that is an ordinary token of the "
    "tokenizer; or an end token of the tokenizer that generation does not stop at",
    otherwise="a tokenizer whose added tokens are not declared special",
    refuted_by="tokenizer.decode([id]) is the token that was meant",
    remedy="set bos, eos and pad of model.config and model.generation_config from the tokenizer; a config made from "
    "scratch carries the ids of another tokenizer",
)
def special_ids_agree(seen: Recording) -> Outcome:
    """Config, generation config and tokenizer mean the same tokens."""
    special = seen.special
    if special is None or not special.size:
        return Lacks(what="a tokenizer, and the end of the audit")
    own = {key: ids for key, ids in special.given.items() if key[0] != "tokenizer"}
    if not own:
        return Lacks(what="a model whose config names special tokens")
    wrong = [
        (where, name, i)
        for (where, name), ids in own.items()
        for i in ids
        if i in special.ordinary or not 0 <= i < special.size
    ]
    stops = own.get(("generation_config", "eos")) or own.get(("config", "eos")) or ()
    ends = special.given.get(("tokenizer", "eos"), ())
    numbers: dict[str, float | int | str] = {"wrong": len(wrong), "ids": sum(map(len, own.values()))}
    if wrong:
        numbers |= {f"{where}.{name}": i for where, name, i in wrong}
        said = ", ".join(sorted({f"{name} {i} is {_token(special.ordinary.get(i))}" for _, name, i in wrong}))
        stopping = any(name == "eos" and i in special.ordinary for _, name, i in wrong)
        return Detection(
            severity="error" if stopping else "warning",
            statement=f"{said}" + (": generation stops there" if stopping else ""),
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    if ends and stops and not set(ends) & set(stops):
        return Detection(
            severity="warning",
            statement=f"the tokenizer's end token is {ends[0]}, generation stops at {', '.join(map(str, stops))}",
            numbers=numbers,
            evidence=(),
        )
    return Nothing(numbers=numbers)


def _token(text: str | None) -> str:
    return "outside the tokenizer" if text is None else f"the ordinary token {text!r}"


@check(
    title="Prompts padded on the right",
    needs="generation from two or more rows of unequal length in the loop, or prompts as ids with a mask (watch)",
    cost="a look at the attention mask at up to 64 steps of generation",
    threshold="a row with padding behind its prompt",
    otherwise="a model that generates from its encoder's output",
    refuted_by="the same rows generated one at a time give the same text",
    remedy="tokenizer.padding_side = 'left' for generation from a decoder",
)
def padding_side(seen: Recording) -> Outcome:
    """Generation goes on directly behind the prompt."""
    if seen.special is not None and seen.special.encoder_decoder:
        return Lacks(what="a decoder that is given its prompts: an encoder may be padded on either side")
    padded, right = seen.generation.padded, seen.generation.padded_right
    batches = seen.generation.batches
    for _, value in seen.watched.get("prompts", ()):
        mask = _mask_of(value, seen)
        if mask is not None:
            batches, padded = batches + 1, padded + bool((~mask).any())
            right += bool(ends_in_padding(mask).any())
    numbers = {"batches": batches, "padded": padded, "padded_right": right}
    if not padded:
        return Lacks(what="generation from rows of unequal length, or audit.watch(prompts={input_ids, attention_mask})")
    if not right:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{right} of {padded} padded batches have padding between prompt and generated text",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


def _mask_of(value: Any, seen: Recording) -> np.ndarray | None:
    """Visible places [B, T] of prompts that are given as ids; None of others."""
    if isinstance(value, Mapping) and value.get("attention_mask") is not None:
        return np.asarray(rows_of(value["attention_mask"])) > 0
    rows = rows_of(value)
    pads = seen.special.of("pad") if seen.special is not None else frozenset()
    if not pads or len(rows) < 2 or isinstance(rows[0], str) or len({len(row) for row in rows}) != 1:
        return None
    return ~np.isin(np.array(rows), list(pads))


@check(
    title="Generation that does not end",
    needs="8 rows of generated ids watched at once, and an end token that is known",
    cost=FREE,
    threshold="fewer than half of the rows hold the end token",
    otherwise="a training that has just begun; a limit below the usual length of an answer",
    refuted_by="rows that end at a higher limit",
    remedy="end every target with the end token, and do not mask it; where pad and end are one token, mask by place",
)
def generation_ends(seen: Recording) -> Outcome:
    """What is generated comes to an end."""
    latest = seen.latest("generated")
    rows = [] if latest is None else [row for row in rows_of(latest) if not isinstance(row, str)]
    ends = seen.special.of("eos") if seen.special is not None else frozenset()
    if len(rows) < 8 or not ends:
        return Lacks(what="audit.watch(generated=…): 8 rows of ids at once; and an end token in config or tokenizer")
    share = float(np.mean([bool(ends & set(row)) for row in rows]))
    targets = [one.targets.ids for one in seen.forwards if one.targets is not None]
    taught = sum(int(np.isin(ids, list(ends)).sum()) for ids in targets)
    numbers = {"rows": len(rows), "share_that_end": share, "end_among_targets": taught}
    if share >= 0.5:
        return Nothing(numbers=numbers)
    never = bool(targets) and not taught
    return Detection(
        severity="warning" if never else "note",
        statement=f"{share:.0%} of {len(rows)} generated rows end"
        + (": the end token is never a target" if never else ""),
        numbers=numbers,
        evidence=(),
        certainty="likely" if never else "possible",
    )


@check(
    title="Generated ids that were clamped",
    needs="four rows of generated ids (watch), and a tokenizer",
    cost=FREE,
    threshold="half of the rows or more end with the highest ordinary id, and none with the end token",
    otherwise="a vocabulary whose last token is a usual one",
    refuted_by="the ids that generate() returned, before anything was done to them",
    remedy="do not clamp ids to the vocabulary: end and padding tokens lie above the ordinary ones",
)
def generated_ids_clamped(seen: Recording) -> Outcome:
    """Ids are those that were generated."""
    rows = [row for row in watched_rows(seen, "generated") if not isinstance(row, str) and row]
    if len(rows) < LEAST_PAIRS or seen.special is None or seen.special.last_ordinary < 0:
        return Lacks(what="audit.watch(generated=…): four rows of ids; and a tokenizer")
    highest, ends = seen.special.last_ordinary, seen.special.of("eos") | seen.special.of("pad")
    last = sum(row[-1] == highest for row in rows)
    numbers = {"rows": len(rows), "end_with_highest_id": last, "highest_id": highest}
    if last * 2 < len(rows) or any(ends & set(row) for row in rows):
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"{last} of {len(rows)} generated rows end with {highest}, the highest "
        "ordinary id, and none holds an end or padding token: ids were clamped",
        numbers=numbers,
        evidence=(),
    )


@check(
    title="Text that is not what was generated",
    needs="generated ids, the texts made of them (watch) and a tokenizer",
    cost=FREE,
    threshold="half of the texts or more are neither the decoded ids nor a part of them",
    otherwise="a cleaning step that is wanted; a prompt that is cut off",
    refuted_by="tokenizer.decode(ids, skip_special_tokens=True) equals the text that is graded",
    remedy="grade the decoded text as it is",
)
def generated_text_altered(seen: Recording) -> Outcome:
    """The text that is graded is the text that was generated."""
    rows, texts = watched_rows(seen, "generated"), watched_rows(seen, "generated_texts")
    if seen.tokenizer is None or not rows or len(rows) != len(texts) or isinstance(rows[0], str):
        return Lacks(what="a tokenizer, audit.watch(generated=ids, generated_texts=texts), as many of one as of other")
    decoded = [_text(row, seen) for row in rows]
    other = [(text, whole) for text, whole in zip(texts, decoded, strict=True) if text.strip() not in whole]
    unspaced = sum("".join(text.split()) == "".join(whole.split()) for text, whole in other)
    numbers = {"texts": len(texts), "differ": len(other), "only_in_spaces": unspaced}
    if len(other) * 2 < len(texts):
        return Nothing(numbers=numbers)
    how = "spaces were deleted or added" if unspaced * 2 >= len(other) else "they were altered after decoding"
    return Detection(
        severity="warning",
        statement=f"{len(other)} of {len(texts)} texts are not what their ids decode to: {how}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="A tokenizer that loses text",
    needs="a tokenizer, and texts (watch: prompts, references, train_texts or validation_texts)",
    cost="up to 64 texts are tokenized and decoded at the end",
    threshold="half of the texts or more lose or gain spaces between words, or more than 1% of the tokens are unknown",
    otherwise="a language that is written without spaces",
    refuted_by="tokenizer.decode(tokenizer.encode(text)) == text",
    remedy="use the pre-tokenizer and the decoder that belong together; train the tokenizer on such text",
)
def text_round_trip(seen: Recording) -> Outcome:
    """Text survives being tokenized and decoded."""
    names = ("prompts", "references", "train_texts", "validation_texts")
    texts = [row for name in names for row in watched_rows(seen, name) if isinstance(row, str)][:MOST_TEXTS]
    if seen.tokenizer is None or not texts:
        return Lacks(what="a tokenizer, and audit.watch(prompts=…) or other texts")
    encoded = [seen.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    unknown = getattr(seen.tokenizer, "unk_token_id", None)
    tokens = sum(map(len, encoded))
    lost = sum(row.count(unknown) for row in encoded) / max(tokens, 1) if unknown is not None else 0.0
    pairs = [(text.split(), seen.tokenizer.decode(row).split()) for text, row in zip(texts, encoded, strict=True)]
    spaced = sum(before != after and "".join(before) == "".join(after) for before, after in pairs)
    numbers = {"texts": len(texts), "other_spaces": spaced, "share_unknown": lost}
    if lost > 0.01:
        return Detection(
            severity="warning",
            statement=f"{lost:.1%} of {tokens} tokens are unknown to the tokenizer",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    if spaced * 2 >= len(texts):
        return Detection(
            severity="warning",
            statement=f"{spaced} of {len(texts)} texts come back from the tokenizer with other spaces",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    return Nothing(numbers=numbers)
