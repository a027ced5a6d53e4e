"""Printed logs that count epochs: blocks under ``Epoch 3/20``, or one line per epoch or batch."""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import count_of, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import REPEATED, is_bar, learn, lines, metrics, sample, share, without_logger

FORM = "printed log, by epochs"
_EPOCH = re.compile(r"^\W{0,12}epochs?\W{0,3}\s*(?P<epoch>\d+)(?:\s*/\s*(?P<total>\d+))?", re.IGNORECASE)
_LOSS = re.compile(r"loss|ppl|perplexity|bleu|rouge|accuracy", re.IGNORECASE)


def claim(source: Source) -> float:
    """It prints `Epoch n`, and losses without a step."""
    if not source.is_text:
        return 0.0
    scratch = Builder("", "")
    epochs, losses = 0, []
    for line in sample(source):
        text = without_logger(line)
        match = _EPOCH.match(text)
        epochs += match is not None
        rest = text[match.end() :] if match else text
        losses.append(_LOSS.search(rest) is not None and not is_bar(line) and bool(metrics(rest, scratch)))
    return 0.95 * share(source, losses) if epochs >= 2 else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. Numbers in progress bars are not read: they are running means under the same names."""
    epoch: float | None = None
    bars = 0
    for number, line in lines(source):
        if is_bar(line):
            bars += "loss" in line
            continue
        text = without_logger(line)
        match = _EPOCH.match(text)
        if match:
            epoch = number_of(match["epoch"])
            if match["total"]:
                builder.configure("epochs", count_of(match["total"]))
            text = text[match.end() :]
        wanted = (_LOSS.search(text) or "LR" in text) and not REPEATED.search(text)
        values = metrics(text, builder) if wanted else {}
        if values and epoch is not None:
            builder.add(number, values, epoch=epoch)
        else:
            learn(line, number, builder)
    if bars:
        builder.note(f"{bars} repaints of progress bars contain losses, which were not read")
