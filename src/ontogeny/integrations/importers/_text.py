"""Shared by all text formats: pairs of name and number, prefixes of loggers, and the configuration that logs state."""

import re
from collections.abc import Iterable, Iterator

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import understand
from ontogeny.integrations.importers._numbers import COUNT, NUMBER, count_of, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.store.history import TRAIN

_LOGGER = re.compile(r"^.{0,160}?(?:\bINFO\b|\bWARNING\b)[\])]?\s*[-:>]*\s*")
_WORD = r"[A-Za-z][\w/.-]{0,60}"
_WORDS_BEFORE = rf"\b(?:{_WORD}+[ -]{{1,3}}+){{0,2}}?"
_PAIR = re.compile(
    rf"(?:(?P<name>{_WORDS_BEFORE}{_WORD}+)\s*+(?:[:=]\s*+)?|(?P<touching>\b{_WORD}(?<=[/-])))(?<![\w.])"
    rf"(?P<value>{NUMBER})(?P<unit>[A-Za-z%]+| (?:BPC|BPB|bpc|bpb)\b)?(?![\w(])"
)
"""Up to three words and their number; or one word that ends in `/` or `-`, right before it. Words are taken
whole and never given back (`+`): a hyphen may be part of a word or stand between two, and trying all ways to divide a
line of hyphens would take minutes."""
_CORE_METRICS = {
    "loss",
    "perplexity",
    "learning_rate",
    "grad_norm",
    "bits_per_byte",
    "accuracy",
    "reward",
    "nll",
    "token_accuracy",
}
_CORE_BEGINNINGS = ("term/", "bleu", "rouge", "f1", "wer")
REPEATED = re.compile(r"\b(?:best|saved|saving|checkpoint|improved)\b", re.IGNORECASE)
"""Lines that repeat the result of an evaluation."""
BITS = {"bpc": "bits", "bpb": "bits"}
_EVALUATION = re.compile(r"(?:\W*)(?:validation|valid|eval|dev|test)\b[^:=]{0,20}:\s*(?=[A-Za-z])", re.IGNORECASE)
_BAR = re.compile(r"\d+%\|")

_SETTING = re.compile(
    r"\b(vocab_size|vocabulary_size|gradient_accumulation_steps|max_iters|max_steps|num_iterations|world[ _]size)\b"
    rf"['\"]?\s*[:=]\s*({COUNT})\b",
    re.IGNORECASE,
)
_SETTINGS = {
    "vocab_size": "vocabulary_size",
    "vocabulary_size": "vocabulary_size",
    "gradient_accumulation_steps": "accumulation",
    "max_iters": "max_steps",
    "max_steps": "max_steps",
    "num_iterations": "max_steps",
    "world size": "devices",
    "world_size": "devices",
}
_TRAINER = {
    "Num examples": "train_examples",
    "Num Epochs": "epochs",
    "Instantaneous batch size per device": "batch_size",
    "Gradient Accumulation steps": "accumulation",
    "Total optimization steps": "max_steps",
}
_TRAINER_LINE = re.compile(rf"({'|'.join(_TRAINER)})\s*=\s*({COUNT})")
_ERROR = re.compile(r"^(?:\[[^\]]*\]:?\s*)*([\w.]*(?:Error|Exception|Interrupt|OutOfMemory\w*)\b.*)")
MOST_ERRORS = 20
LONGEST_PRINTED = 4096


def lines(source: Source) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, cut to 4,096 characters: enough for printed logs, and it keeps the patterns fast."""
    return ((number, line[:LONGEST_PRINTED]) for number, line in source.lines())


def sample(source: Source) -> list[str]:
    """Lines by which a format is recognised, cut in the same way."""
    return [line[:LONGEST_PRINTED] for line in source.sample]


def without_logger(line: str) -> str:
    """The message of a line, without the time, level and name that a logger puts before it."""
    return _LOGGER.sub("", line, count=1)


def is_bar(line: str) -> bool:
    """Is the line a repaint of a progress bar?"""
    return _BAR.search(line) is not None


def pairs(text: str) -> Iterator[tuple[str, float, str]]:
    """Name, number and unit of every ``name: 1.5``, ``name=1.5``, ``name 1.5 BPC`` in a line."""
    for match in _PAIR.finditer(text):
        value = number_of(match["value"])
        if value is not None:
            yield match["name"] or match["touching"], value, (match["unit"] or "").strip().lower()


def metrics(text: str, builder: Builder) -> dict[str, float]:
    """The metrics among the pairs of a line, if one of them is a loss, a learning rate or the like; else none."""
    values: dict[str, float] = {}
    has_core = False
    prefix = _EVALUATION.match(text)
    for name, value, unit in pairs(text):
        meaning = understand(name)
        if meaning is None or unit in ("s", "ms", "m", "h", "gib", "mib", "gb", "it"):
            continue
        has_core = has_core or meaning.name in _CORE_METRICS or meaning.name.startswith(_CORE_BEGINNINGS)
        label = f"{prefix[0].strip(' -:')} {name}" if prefix and meaning.scope == TRAIN else name
        values.setdefault(label, value)
        if unit in BITS and meaning.name == "loss":
            builder.units[name] = BITS[unit]
    return values if has_core else {}


def learn(line: str, number: int, builder: Builder) -> None:
    """Record what a line states about the run's configuration, or about its end."""
    config = builder.config
    if "=" in line or ":" in line:
        for name, value in _SETTING.findall(line):
            builder.configure(_SETTINGS[name.lower()], count_of(value), overwrite=False)
        match = _TRAINER_LINE.search(line)
        if match:
            key = _TRAINER[match[1]]
            if not (key == "train_examples" and "epochs" in config):  # later blocks are about evaluations
                builder.configure(key, count_of(match[2]))
    if "from scratch" in line:
        config.setdefault("from_scratch", True)
    elif "from pretrained" in line or "Loading checkpoint shards" in line or "loading weights file" in line:
        config.setdefault("pretrained", True)
    if "Error" in line or "Exception" in line or "Interrupt" in line:
        match = _ERROR.match(line)
        if match:
            errors = config.setdefault("errors", [])
            if len(errors) < MOST_ERRORS:
                errors.append((number, match[1][:200]))
            config["interrupted"] = True


def share(source: Source, recognised: Iterable[bool]) -> float:
    """Confidence of a text format, growing with the number of lines recognised: 0.2 for one, below 0.75 for many."""
    if not source.is_text or source.head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<",):
        return 0.0
    count = sum(recognised)
    return 0.75 * count / (count + 3) if count else 0.0
