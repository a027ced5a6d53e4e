"""Printed training logs with a step in every line: nanoGPT and similar, llm.c, nanochat, torchtune, torchtitan, …"""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import COUNT, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import REPEATED, is_bar, learn, lines, metrics, sample, share, without_logger

FORM = "printed log, a step per line"

_STEP = re.compile(
    r"^\W{0,12}(?:(?:ep|epoch)\W{1,3}(?P<epoch>\d+)\W{1,4})?"
    rf"(?P<word>global[_ ]step|step|iteration|iter|batch|update|s)\b\W{{0,3}}?\s*(?P<step>{COUNT})"
    rf"(?:\s*/\s*(?P<total>{COUNT}))?(?P<rest>(?:[\s:|,()\[\]]|$).*)",
    re.IGNORECASE,
)
_VALIDATION = re.compile(
    r"^\W*(?:val|valid|validation|eval|test)\w*(?: [ _]*)?(?:loss|bpb|perplexity|ppl)\s*[:=]", re.IGNORECASE
)
_DIALECTS = {
    "nanoGPT": re.compile(r"^iter \d+: loss "),
    "nanochat": re.compile(r"^step \d{5}(?>.*? \| loss: )(?>.*? \| lrm: )"),
    "torchtitan": re.compile(r"step:\s+\d+\s+loss:\s"),
    "torchtune": re.compile(r"^Step \d+ \| \w+:"),
    "llm.c": re.compile(r"^s:\d+ t[re]l:"),
    "modded-nanogpt": re.compile(r"^step:\d+/\d+ (?:avg_)?(?:train|val)_loss:"),
    "build-nanogpt": re.compile(r"^step +\d+ \| loss: .* \| norm: "),
}


def _may_match(line: str) -> bool:
    """A cheap test before the pattern."""
    return any(character.isdigit() for character in line) and not is_bar(line)


def _has_metrics(line: str, builder: Builder) -> bool:
    match = _STEP.match(without_logger(line)) if _may_match(line) else None
    return match is not None and bool(metrics(match["rest"], builder))


def claim(source: Source) -> float:
    """It has lines with a step followed by a loss or the like."""
    if not source.is_text:
        return 0.0
    scratch = Builder("", "")
    return share(source, (_has_metrics(line, scratch) for line in sample(source)))


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. An evaluation without a step belongs to the step before it."""
    step = 0.0
    dialects = dict.fromkeys(_DIALECTS, 0)
    for number, line in lines(source):
        text = without_logger(line)
        match = _STEP.match(text) if _may_match(line) else None
        values = metrics(match["rest"], builder) if match else {}
        if match is None or not values:
            is_evaluation = _VALIDATION.match(text) and not line[0].isspace() and not REPEATED.search(text)
            if is_evaluation and (values := metrics(text, builder)):
                builder.add(number, values, step=step)
            else:
                learn(line, number, builder)
            continue
        step = number_of(match["step"]) or 0.0
        total = number_of(match["total"])
        if total is not None:
            builder.configure("max_steps", max(total, builder.config.get("max_steps", 0)))
        epoch = number_of(match["epoch"])
        builder.add(number, values, step=step, epoch=epoch)
        for name, pattern in _DIALECTS.items():
            if len(builder) < 50 and pattern.search(text):
                dialects[name] += 1
    best = max(dialects, key=lambda name: dialects[name])
    if dialects[best]:
        builder.form = f"printed log ({best})"
