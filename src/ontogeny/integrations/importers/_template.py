"""The plan of a printed line: which of its numbers is the step, the epoch, a metric.

Lines that differ only in their numbers share a template, in which characters of a private range stand for the numbers.
The plan is made once per template, so that it may look at a line from all sides. All patterns need time in proportion
to the line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from ontogeny.integrations.importers._names import understand, words_of
from ontogeny.integrations.importers._text import is_core, without_logger

_FIRST_MARK, MOST_NUMBERS = 0xE000, 1000
_N = f"[\ue000-{chr(_FIRST_MARK + MOST_NUMBERS)}]"
_NOT_FINITE = r"[-+]?(?:nan|inf(?:inity)?)(?![\w.])"
NUMBER_IN_LINE = re.compile(
    r"((?<![\w.@])[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d+(?!\d|,\d))(?:\.\d*)?(?:[eE][-+]?\d+)?"
    r"|\.\d+(?:[eE][-+]?\d+)?)(?!\.?\d)"
    rf"|(?:(?<=[:=(\[\"'])|(?<=[:=|] )|(?<=loss )|(?<=norm )){_NOT_FINITE}"
    rf"|(?<![\w.@]){_NOT_FINITE}(?=\s{{0,3}}(?:[^\w\s]|\Z)))",
    re.IGNORECASE,
)
"""A number that is not part of a word. `nan` counts beside a separator, not in `number of nan steps: 0`."""

_LOCATOR = re.compile(rf"[\[(<]?(?:[\w/<>-]{{1,60}}[.:]){{1,6}}[\w/<>-]{{1,60}}:{_N}(?:,[^\])]{{0,40}})?\s?[\])>|-]")
"""Where a logger says that a line was printed: `[train.py:55]`, `__main__:train:55 -`, `[olmo.train:816, rank=0]`."""
_LOCATED = "\x01"
_LONGEST_PREFIX = 200
_WRAPPED = re.compile(
    rf"\b(?:(?:np|numpy|jnp|torch)\.)?(?:b?float\d*|u?int\d*|tensor|array|Array|DeviceArray)\(\[?({_N})[^()]{{0,80}}\)"
)
"""A number as numpy, torch and jax print it: `np.float64(1.5)`, `tensor(1.5, device='cuda:0')`."""
_QUALIFIER = re.compile(r"\s?\([^()]{0,40}\)(?=\s{0,3}[:=])")
"""A unit or group between a name and its separator: `elapsed time (ms): 12`, `LR (group 0)=1e-4`."""
_BAR = re.compile(rf"{_N}%\|[^|]{{0,300}}\|\s{{0,3}}(?P<place>{_N}/{_N} )?")
_COUNTER = re.compile(r"^k?it/$")
_UNIT_OF_PLACE = re.compile(r"^(epoch|batch|step|iter)s?\b(?!/)", re.IGNORECASE)
_BRACKETED = re.compile(r"^\] ")
_CELL = re.compile(rf"\s*[|│]\s[^|│{{}}]{{1,80}}[|│]\s{{1,20}}{_N}\s{{0,40}}[|│]\s*")
_KERAS_BAR = re.compile(rf"^\D{{0,8}}({_N})/{_N} (?:\[[=>.]*\]|[━╸\s]+)")

_CLOSE = " \t:=[(\"'~<>|{│┃$"
_DELIMITER = re.compile(r"[\x01|,;{}\[\]()<>\t\"'│┃•*#!?:=]|\s-+\s|\s{2,}|-->?")
_ATTACHED = re.compile(r"^[A-Za-z%/]+")
_UNIT = re.compile(r"^ ?(BPC|BPB|ms|sec|s|min|m|h|GiB|MiB|GB|MB|it|tokens|%)(?![\w/])", re.IGNORECASE)
_TIMES = {"s", "ms", "sec", "min", "m", "h", "gib", "mib", "gb", "mb", "it"}
_THOUSANDS = re.compile(r"^k(?:it)?\b")
_TOTAL = re.compile(r"^\s{0,8}(?:/|of)\s{0,8}$|^k?it/$")
_FILLERS = {
    *("finished", "with", "the", "a", "is", "at", "of", "in", "has", "after", "and", "to", "for", "on", "done", "its"),
    *("completed", "end", "current", "this", "was", "were", "average", "are", "reached", "value", "results", "result"),
    *("progress", "now", "mean"),
}
_STEP_WORDS = {"step", "steps", "iter", "iteration", "update", "updates", "up", "timesteps", "batch", "it"}
_NO_STEP = {
    *("skipped", "warmup", "total", "max", "save", "saving", "logging", "log", "accumulation", "accum", "per", "best"),
    *("last", "previous", "resume", "from", "every", "nan", "decay", "num", "n", "early", "size", "global", "number"),
    *("time", "ms", "s", "sec", "seconds"),
}
_RANKS = {"timesteps": 1, "batch": 1}
_EPOCH_WORDS = {"epoch", "epochs", "ep"}
_NO_EPOCH = {"best", "per", "total", "num", "max", "warmup", "n", "number", "save", "every", "time"}
_ABOUT_THE_PROCESS = {"checkpoint", "pid", "ip", "rank", "node", "gpu", "line", "port", "worker", "device", "cuda"}
_GLOG = re.compile(r"[IWEF]\d{4}")
_EVALUATION = re.compile(
    r"(?<![\w./-])(?:validation|validating|valid|val|eval|evaluation|evaluating|test|testing|dev)(?![\w/-]|\.py)",
    re.IGNORECASE,
)
_TRAINING = re.compile(r"(?<![\w./-])train(?:ing)?(?![\w/-]|\.py)", re.IGNORECASE)
_CODE = re.compile(
    r"(?<![=\[])==(?![=\]>])|(?<![=])[-+*/]=|%[sd]\b|\*\*|\):\s*$|\s#\s|\bself\.|\bf['\"]|^\s*(?:#|//|@)"
    rf"|\w \+ [\w{_N[1:-1]}]|^\s*\w+ = {_N}\s*$"
    r"|^\s*(?:def|if|elif|else|for|while|return|class|import|from|assert|with|print|raise|parser)\b[ (.:]"
)
"""Source code, which some programs print at the beginning of their logs."""
_MOST_WORDS = 5
_MOST_WORDS_OF_A_HEADER = 8


@dataclass
class Plan:
    """What the numbers of all lines with one template mean. Numbers are named by their positions in the line."""

    step: int | None = None
    step_total: int | None = None
    rank: int = -1
    """How sure a step is the optimizer's: 3 `global_step`, 2 `step`, 1 `batch`, 0 a bare `N/M`; -1 without one."""
    step_factor: float = 1.0
    epoch: int | None = None
    epoch_total: int | None = None
    labels: list[tuple[int, str]] = field(default_factory=list)
    """Position and name of every number that may be a metric."""
    ratios: dict[int, int] = field(default_factory=dict)
    """Positions of numbers that stand before the number they are a part of: `9822/10000`."""
    units: dict[str, str] = field(default_factory=dict)
    is_header: bool = False
    """The line has few words beside its step: metrics may follow on lines of their own."""
    has_core: bool = False
    """One of its labels is a loss or the like."""
    lead: int = 0
    """Words before the name of the first metric."""
    is_cell: bool = False
    """A row of a box with one name and one number: ``|    loss    | 7.4    |``."""
    is_repaint: bool = False
    """A bar of Keras: it counts if its step is its total."""

    @cached_property
    def has_place(self) -> bool:
        """Does the line have a step or an epoch of its own?"""
        return self.step is not None or self.epoch is not None


@lru_cache(maxsize=16_384)
def plan_of(gaps: tuple[str, ...]) -> Plan:
    """The plan of a line from the texts before, between and after its numbers."""
    if len(gaps) > MOST_NUMBERS:
        return Plan()
    text = "".join(f"{chr(_FIRST_MARK + i)}{gap}" for i, gap in enumerate(gaps))[1:]
    if _CODE.search(text):
        return Plan()
    bar = _BAR.search(text)
    if bar:
        text = f"{text[: bar.start()]} {bar['place'] or ''}"
    head = _LOCATOR.sub(f" {_LOCATED} ", without_logger(text[:_LONGEST_PREFIX]), count=1)
    text = head + text[_LONGEST_PREFIX:]
    if "(" in text:
        text = _QUALIFIER.sub("", _WRAPPED.sub(r"\1", text))
    plan = Plan(is_cell=_CELL.fullmatch(text) is not None)
    keras = _KERAS_BAR.match(text)
    if keras:
        plan.is_repaint = True
    _fill(plan, list(_numbers(text)))
    meanings = [(position, label, understand(label)) for position, label in plan.labels]
    plan.labels = [(position, label) for position, label, meaning in meanings if meaning is not None]
    plan.has_core = any(meaning is not None and is_core(meaning.name) for _, _, meaning in meanings)
    words = [word for word in words_of(text) if word[0].isalpha()]
    plan.is_header = plan.has_place and len(words) <= _MOST_WORDS_OF_A_HEADER
    return plan


@dataclass(frozen=True)
class _Number:
    """A number in a template: its position, the text before it since the last number, and the text after it."""

    position: int
    before: str
    after: str


def _numbers(text: str) -> Iterator[_Number]:
    marks = list(re.finditer(_N, text))
    for i, mark in enumerate(marks):
        before = text[marks[i - 1].end() if i else 0 : mark.start()]
        after = text[mark.end() : marks[i + 1].start() if i + 1 < len(marks) else len(text)]
        # The mark of the first number is cut off: the text begins with what stands before it.
        yield _Number(ord(mark[0]) - _FIRST_MARK - 1, before, after)


def _fill(plan: Plan, numbers: list[_Number]) -> None:
    is_evaluation = False
    for i, number in enumerate(numbers):
        if i and _TOTAL.match(number.before):
            continue  # the whole of which the number before is a part
        total = numbers[i + 1].position if i + 1 < len(numbers) and _TOTAL.match(number.after) else None
        name, context = _name_of(number.before, is_first=i == 0)
        is_evaluation = _scope(context, is_evaluation)
        words = words_of(name)
        unit = _UNIT_OF_PLACE.match(number.after)
        if unit and not words:
            words = [unit[1].lower()]
        if _is_epoch(words, number.after):
            if plan.epoch is None:
                plan.epoch, plan.epoch_total = number.position, total
            is_evaluation = _scope(name, is_evaluation)
        elif _is_step(words) or (i == 0 and words == ["s"]):
            rank = 3 if "global" in words or "updates" in words else _RANKS.get(words[-1], 2)
            is_evaluation = _scope(name, is_evaluation)
            _take_step(plan, number, total, rank)
        elif total is not None and _is_counter(words, number.after, numbers[i + 1].after):
            _take_step(plan, number, total, 0)
        elif words and number.after[:1] != "-" and _may_be_metric(name, words):
            if not plan.labels:
                plan.lead = len(words_of(context))
            _take_metric(plan, number, total, f"eval {name}" if is_evaluation else name)
        elif number.before.split() == [_LOCATED, "["] and _BRACKETED.match(number.after):
            _take_step(plan, number, None, 0)


def _is_epoch(words: list[str], after: str) -> bool:
    if words in (["train"], ["test"], ["eval"]):  # timm: `Train: 0 [  10/1251 …`
        return after.lstrip().startswith("[")
    return bool(words) and words[-1] in _EPOCH_WORDS and not _NO_EPOCH & set(words)


def _is_counter(words: list[str], after: str, after_total: str) -> bool:
    """Is `N/M` a count of steps? Not a date, and not the part of a metric."""
    return _COUNTER.match(after) is not None or (not words and not after_total.startswith("/"))


def _is_step(words: list[str]) -> bool:
    if not words or words[-1] not in _STEP_WORDS:
        return False
    if words[-3:] == ["step", "max", "steps"]:  # ms-swift: global_step/max_steps
        return True
    denied = _NO_STEP - {"global"} if words[-1] != "batch" else _NO_STEP
    return not (denied & set(words[:-1])) or words[-2:] == ["num", "updates"] or words == ["total", "timesteps"]


def _take_step(plan: Plan, number: _Number, total: int | None, rank: int) -> None:
    if rank > plan.rank:
        plan.step, plan.step_total, plan.rank = number.position, total, rank
        plan.step_factor = 1000.0 if _THOUSANDS.match(number.after) else 1.0


def _take_metric(plan: Plan, number: _Number, total: int | None, label: str) -> None:
    unit = _UNIT.match(number.after)
    if unit and unit[1].lower() in _TIMES:
        return
    plan.labels.append((number.position, label))
    if unit and unit[1].lower() in ("bpc", "bpb"):
        plan.units[label] = "bits"
    if total is not None:
        plan.ratios[number.position] = total


def _scope(text: str, is_evaluation: bool) -> bool:
    """Does what follows belong to an evaluation? The last word in `text` that says so decides."""
    evaluations = [match.start() for match in _EVALUATION.finditer(text)]
    trainings = [match.start() for match in _TRAINING.finditer(text)]
    if not evaluations and not trainings:
        return is_evaluation
    return max(evaluations, default=-1) > max(trainings, default=-1)


def _name_of(gap: str, *, is_first: bool) -> tuple[str, str]:
    """The name right before a number, and the text before the name."""
    text = gap if is_first else _ATTACHED.sub("", gap)
    text = text.rstrip(_CLOSE)
    qualifier = ""
    if text.endswith(")"):
        opening = text.rfind("(")
        qualifier, text = text[opening + 1 : -1], text[: max(opening, 0)].rstrip()
    kept = text.split()
    while kept and kept[-1].lower() in _FILLERS:
        kept.pop()
    if kept:
        text = text[: text.rfind(kept[-1]) + len(kept[-1])].rstrip(_CLOSE)
    start = 0
    for match in _DELIMITER.finditer(text):
        start = match.end()
    name = text[start:].strip(" .-_>…")
    words = name.split()
    for i in range(len(words) - 1, -1, -1):
        if words[i].lower() in _FILLERS - {"average", "mean", "current"}:
            return " ".join(words[i + 1 :]), f"{text[:start]} {' '.join(words[: i + 1])} {qualifier}"
    return name, f"{text[:start]} {qualifier}"


def _may_be_metric(name: str, words: list[str]) -> bool:
    if len(words) > 2 * _MOST_WORDS or len(name.split()) > _MOST_WORDS or len(name) > 80 or not name[0].isalpha():
        return False
    return not name.endswith(".py") and words[-1] not in _ABOUT_THE_PROCESS and not _GLOG.fullmatch(name)
