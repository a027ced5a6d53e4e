"""Printed output of Hugging Face's Trainer: a dictionary per log, among the progress bar's repaints."""

import re

from ontogeny.integrations.importers._alike import LineStream
from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import add_evaluation_rate
from ontogeny.integrations.importers._numbers import count_of, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import learn, lines, sample, share

FORM = "Hugging Face Trainer, printed"
_DICTIONARY = re.compile(r"\{'[\w/.-]+':[^{}]*\}")
_ITEM = re.compile(r"'([^']+)':\s*(?:'([^']*)'|([^,}]+))")
_STEP = re.compile(r"'global_step/max_steps': '(\d{1,15})/(\d{1,15})'")
_BAR = re.compile(r"\b(\d+)/(\d+) \[")
_REPAINT = re.compile(r"\r[^\r{]{0,200}?/(\d{1,15}) \[[^\r{\]]{0,80}\](?=\r[^\r{]{0,200}?/\1 \[)")
"""A bar that is painted anew right after it."""
_SUMMARY = ("train_runtime", "train_samples_per_second")


def _values(text: str) -> dict[str, float]:
    """Names and numbers of a printed dictionary, quoted numbers included; nothing is evaluated as code."""
    numbers = {}
    for name, quoted, bare in _ITEM.findall(text):
        value = number_of(quoted or bare.strip())
        if value is not None:
            numbers[name] = value
    return numbers


def _is_log(text: str) -> bool:
    return "'epoch'" in text and ("loss'" in text or "'reward" in text or "'eval_" in text)


def claim(source: Source) -> float:
    """Dictionaries with an epoch and a loss."""
    if not source.is_text:
        return 0.0
    recognised = (_is_log(text) for line in sample(source) if "{'" in line for text in _DICTIONARY.findall(line))
    return min(1.25 * share(source, recognised), 0.9)


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. Steps follow from the epoch if the log states the steps per epoch, else from the progress bar.

    If all bars are printed before all logs (two streams in one file), the bar gives no steps: entries are counted.
    """
    entries: list[tuple[int, dict[str, float], int | None]] = []
    bar: tuple[int, int] | None = None
    for number, line in lines(LineStream(source, _REPAINT)):
        for now, total in _BAR.findall(line):
            painted = count_of(now), count_of(total)
            if painted[0] is not None and painted[1] is not None and (bar is None or painted[1] >= bar[1]):
                bar = painted[0], painted[1]
        stated = _STEP.search(line)  # ms-swift
        if stated:
            bar = int(stated[1]), int(stated[2])
        logs = [text for text in _DICTIONARY.findall(line) if _is_log(text)] if "{'" in line else []
        if not logs:
            learn(line, number, builder)
        entries += [(number, _values(text), bar[0] if bar else None) for text in logs]
    bar_steps = [step for _, values, step in entries if "loss" in values]
    bar_moves = len(bar_steps) == len(set(bar_steps)) and None not in bar_steps
    if bar is not None and bar_moves:
        builder.config.setdefault("max_steps", bar[1])
    for number, values, step in entries:
        _add(number, values, step if bar_moves else None, builder)


def _add(number: int, values: dict[str, float], bar_step: int | None, builder: Builder) -> None:
    config = builder.config
    epoch = values.pop("epoch", None)
    if any(key in values for key in _SUMMARY):
        if "train_loss" in values:
            config["final_train_loss"] = values["train_loss"]
        builder.end_run()
        return
    add_evaluation_rate(values, builder)
    step: float | None = bar_step
    if epoch is not None and config.get("max_steps") and config.get("epochs"):
        step = round(epoch * config["max_steps"] / config["epochs"])
    builder.add(number, values, step=step, epoch=epoch)
