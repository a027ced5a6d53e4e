"""What Hugging Face's Trainer prints: a dictionary per log, behind the progress bar's repaints; values may be text."""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import learn, lines, sample, share

FORM = "Hugging Face Trainer, printed"
_DICTIONARY = re.compile(r"\{'[\w/.-]+':[^{}]*\}")
_ITEM = re.compile(r"'([^']+)':\s*(?:'([^']*)'|([^,}]+))")
_BAR = re.compile(r"\b(\d+)/(\d+) \[")
_SUMMARY = ("train_runtime", "train_samples_per_second")


def _values(text: str) -> dict[str, float]:
    """Names and numbers of a printed dictionary; what is no number is left out. Nothing is evaluated."""
    found = {}
    for name, quoted, bare in _ITEM.findall(text):
        value = number_of(quoted or bare.strip())
        if value is not None:
            found[name] = value
    return found


def _is_log(text: str) -> bool:
    return "'epoch'" in text and ("loss'" in text or "'reward" in text or "'eval_" in text)


def claim(source: Source) -> float:
    """Dictionaries with an epoch and a loss."""
    if not source.is_text:
        return 0.0
    found = (_is_log(text) for line in sample(source) if "{'" in line for text in _DICTIONARY.findall(line))
    return min(1.25 * share(source, found), 0.9)


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. Steps follow from the epoch where the log says how many steps an epoch has, else from the bar.

    Where all bars stand before all logs (two streams in one file), the bar says nothing: entries are then counted.
    """
    found: list[tuple[int, dict[str, float], int | None]] = []
    bar: tuple[int, int] | None = None
    for number, line in lines(source):
        for now, total in _BAR.findall(line):
            if bar is None or int(total) >= bar[1]:
                bar = int(now), int(total)
        logs = [text for text in _DICTIONARY.findall(line) if _is_log(text)] if "{'" in line else []
        if not logs:
            learn(line, number, builder)
        found += [(number, _values(text), bar[0] if bar else None) for text in logs]
    bars = [step for _, values, step in found if "loss" in values]
    told = len(bars) == len(set(bars)) and None not in bars
    if bar is not None and told:
        builder.config.setdefault("max_steps", bar[1])
    for number, values, step in found:
        _add(number, values, step if told else None, builder)


def _add(number: int, values: dict[str, float], bar: int | None, builder: Builder) -> None:
    config = builder.config
    epoch = values.pop("epoch", None)
    if any(key in values for key in _SUMMARY):
        config["final_train_loss"] = values.get("train_loss")
        return
    for key, name in (("eval_runtime", "eval_runtime_s"), ("eval_samples_per_second", "eval_examples_per_second")):
        if key in values:
            config.setdefault(name, []).append(values[key])
    step: float | None = None
    if epoch is not None and config.get("max_steps") and config.get("epochs"):
        step = round(epoch * config["max_steps"] / config["epochs"])
    else:
        step = bar
    builder.add(number, values, step=step, epoch=epoch)
