"""Progress bars as the only record: ``train: 5%|… | 100/2000 [00:12<…, loss=2.31]``, repainted in place."""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import NUMBER, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import learn, lines, sample, share

FORM = "progress bars"
_BAR = re.compile(
    r"(?P<title>[^|\r\n%]{0,80}?)\s*:?\s*(?:\d+%\|[^|]*\|\s*)?(?P<step>\d+)(?:/(?P<total>\d+)|it)\s*"
    r"\[(?P<inside>[^\]]*=[^\]]*)\]?"
)
_PAIR = re.compile(rf"([A-Za-z][\w/]*)=({NUMBER})")
_EVALUATION = re.compile(r"eval|valid|\bval\b|test", re.IGNORECASE)
_EPOCH = re.compile(r"epoch\W{0,2}(\d+)", re.IGNORECASE)
_BACK = 50
"""A bar that falls back by more than so many steps began anew; by less, another process is a little behind."""


def claim(source: Source) -> float:
    """Repaints with a loss behind the rate."""
    if not source.is_text:
        return 0.0
    found = ("loss=" in line and _BAR.search(line) is not None for line in sample(source))
    return 0.6 * share(source, found)


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. Of one step the last repaint counts; of an evaluation, the last before training goes on.

    Several processes that paint the same bar are read as one: what they repeat of a step is passed over.
    """
    step, seen = -1, 0
    waiting: tuple[int, dict[str, float]] | None = None
    for number, line in lines(source):
        match = _BAR.search(line) if "=" in line else None
        values = {name: number_of(value) for name, value in _PAIR.findall(match["inside"])} if match else {}
        kept = {name: value for name, value in values.items() if value is not None}
        if match is None or "loss" not in "".join(kept):
            learn(line, number, builder)
            continue
        seen += 1
        if _EVALUATION.search(match["title"]):
            waiting = (number, {f"eval/{name}": value for name, value in kept.items()})
            continue
        now = _step_of(match, builder)
        if step - _BACK < now <= step:
            continue
        if waiting is not None:
            builder.add(waiting[0], waiting[1], step=max(step, 0))
            waiting = None
        step = now
        builder.add(number, kept, step=step)
    if waiting is not None:
        builder.add(waiting[0], waiting[1], step=max(step, 0))
    if seen > 2 * max(len(builder), 1):
        builder.note(f"{seen} repaints of progress bars hold {len(builder)} different entries")


def _step_of(match: "re.Match[str]", builder: Builder) -> int:
    step, total = int(match["step"]), match["total"]
    epoch = _EPOCH.search(match["title"])
    if epoch and total:
        return int(epoch[1]) * int(total) + step
    if total:
        builder.config["max_steps"] = int(total)
    return step
