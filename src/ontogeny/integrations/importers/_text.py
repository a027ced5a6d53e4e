"""Shared by all text formats: prefixes of loggers, and the configuration that logs state."""

import re
from collections.abc import Iterable, Iterator

from ontogeny.integrations.importers._alike import LineStream
from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import COUNT, count_of
from ontogeny.integrations.importers._source import Source

_LOGGER = re.compile(r"^.{0,160}?(?:\bINFO\b|\bWARNING\b|\bDEBUG\b)[\])]?\s*[-:>|]*\s*")
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
_CRASH = re.compile(
    r"\b(?:CUDA out of memory|out of memory\. Tried|oom-kill|Out of memory: Kill|Killed\s*$|SIGKILL|Segmentation fault"
    r"|DUE TO TIME LIMIT|collective operation timeout|NCCL (?:error|timeout|watchdog)|slurmstepd: error).*",
    re.IGNORECASE,
)
"""Ends of a training that are no exceptions of Python, or stand behind a prefix."""
_MAY_END = ("rror", "xception", "nterrupt", "emory", "ill", "fault", "LIMIT", "imeout", "NCCL")
MOST_ERRORS = 20
LONGEST_PRINTED = 4096
_MOST_WRAPPED = 60
"""Lines over which a dictionary may be wrapped."""
_OPEN = re.compile(r"\{['\"][\w/ .()-]+['\"]: ?")


def lines(source: Source | LineStream) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, cut to 4,096 characters: enough for printed logs, and it keeps the patterns fast.

    A dictionary that is wrapped over lines is one line, with the number of its first.
    """
    stream = source if isinstance(source, LineStream) else LineStream(source)
    return _unwrapped((number, line[:LONGEST_PRINTED]) for number, line in stream)


def sample(source: Source) -> list[str]:
    """Lines by which a format is recognised, cut and joined in the same way."""
    return [line for _, line in _unwrapped(enumerate(line[:LONGEST_PRINTED] for line in source.sample))]


def _unwrapped(numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    held: list[tuple[int, str]] = []
    for number, line in numbered:
        if held:
            held.append((number, line))
            if "{" in line or len(held) > _MOST_WRAPPED:
                yield from held[:-1]
                held = held[-1:]
            elif "}" in line:
                yield held[0][0], "".join(part for _, part in held)[:LONGEST_PRINTED]
                held = []
                continue
            else:
                continue
        if "{" in line and (_OPEN.search(line, max(line.rfind("{"), 0)) if line.rfind("}") < line.rfind("{") else None):
            held = [(number, line)]
        else:
            held = []
            yield number, line
    yield from held


def without_logger(line: str) -> str:
    """The message of a line, without the time, level and name that a logger puts before it."""
    return _LOGGER.sub("", line, count=1)


def is_bar(line: str) -> bool:
    """Is the line a repaint of a progress bar?"""
    return _BAR.search(line) is not None


def is_core(name: str) -> bool:
    """Does a metric of this name (ours) show that a line belongs to a training log?"""
    return name in _CORE_METRICS or name.startswith(_CORE_BEGINNINGS)


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
    if any(word in line for word in _MAY_END):
        error, crash = _ERROR.match(line), _CRASH.search(line)
        text = error[1] if error else crash[0] if crash else ""
        if text:
            errors = config.setdefault("errors", [])
            if len(errors) == MOST_ERRORS:
                errors.pop(0)  # the last ones are those that may have ended it
            errors.append((number, text[:200]))
            config["interrupted"] = True


def share(source: Source, recognised: Iterable[bool]) -> float:
    """Confidence of a text format, growing with the number of lines recognised: 0.2 for one, below 0.75 for many."""
    if not source.is_text or source.head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<",):
        return 0.0
    count = sum(recognised)
    return 0.75 * count / (count + 3) if count else 0.0
