"""Logs with progress bars only: ``train: 5%|… | 100/2000 [00:12<…, loss=2.31]``, repainted in place."""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import NUMBER, count_of, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import learn, lines, sample, share

FORM = "progress bars"
_BAR = re.compile(r"(?<!\d)(?P<step>\d+)(?:/(?P<total>\d+)|it)\s*+\[(?P<inside>[^\]=]{0,400}=[^\]]*)\]?")
_PAIR = re.compile(rf"([A-Za-z][\w/]{{0,80}}+)=({NUMBER})")
_EVALUATION = re.compile(r"eval|valid|\bval\b|test", re.IGNORECASE)
_LONGEST_TITLE = 80
_NOT_IN_TITLES = re.compile(r"[|\r\n%]")
_EPOCH = re.compile(r"epoch\W{0,2}(\d{1,9})", re.IGNORECASE)
_BACK = 50
"""A bar that goes back by more steps than this began anew; by fewer, it is another process that is a little behind."""


def claim(source: Source) -> float:
    """It has repaints with a loss after the rate."""
    if not source.is_text:
        return 0.0
    recognised = ("loss=" in line and _BAR.search(line) is not None for line in sample(source))
    return 0.6 * share(source, recognised)


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. Of each step the first repaint counts; of an evaluation, the last before training goes on.

    Several processes that paint the same bar are read as one: repeated steps are skipped.
    """
    step, repaints = -1, 0
    first_epoch: int | None = None
    waiting: tuple[int, dict[str, float]] | None = None
    for number, line in lines(source):
        match = _BAR.search(line) if "=" in line else None
        values = {name: number_of(value) for name, value in _PAIR.findall(match["inside"])} if match else {}
        metrics = {name: value for name, value in values.items() if value is not None}
        if match is None or "loss" not in "".join(metrics):
            learn(line, number, builder)
            continue
        repaints += 1
        title = _title_of(line[: match.start()])
        if _EVALUATION.search(title):
            waiting = (number, {f"eval/{name}": value for name, value in metrics.items()})
            continue
        epoch = _EPOCH.search(title)
        if epoch and first_epoch is None:
            first_epoch = int(epoch[1])
        now = _step_of(match, int(epoch[1]) - (first_epoch or 0) if epoch else None, builder)
        if now is None or step - _BACK < now <= step:
            continue
        if waiting is not None:
            builder.add(waiting[0], waiting[1], step=max(step, 0))
            waiting = None
        step = now
        builder.add(number, metrics, step=step)
    if waiting is not None:
        builder.add(waiting[0], waiting[1], step=max(step, 0))
    if repaints > 2 * max(len(builder), 1):
        builder.note(f"{repaints} repaints of progress bars contain {len(builder)} different entries")


def _title_of(before: str) -> str:
    """The title of a bar: at most 80 characters of what stands before its numbers, without the bar that is painted."""
    bare = before.rstrip()
    if bare.endswith("|"):
        painted = bare.rfind("|", 0, -1)
        if bare[:painted].endswith("%"):
            before = bare[: painted - 1].rstrip("0123456789")
    return _NOT_IN_TITLES.split(before[-_LONGEST_TITLE:])[-1]


def _step_of(match: "re.Match[str]", epochs_before: int | None, builder: Builder) -> int | None:
    step, total = count_of(match["step"]), count_of(match["total"] or "")
    if epochs_before is not None and total and step is not None:
        return epochs_before * total + step
    builder.configure("max_steps", total or None)
    return step
