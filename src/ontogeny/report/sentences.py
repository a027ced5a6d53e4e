"""Three sentences computed from a run: what it learned, forgot and memorized. Null results are stated as such."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ontogeny.report.learned_tasks import TaskChange, forgotten_tasks, learned_tasks
from ontogeny.report.loss_changes import Extracted, LossChange, accuracy_changes, extracted, loss_change, with_role
from ontogeny.report.rounding import rounded_away
from ontogeny.statistics.estimates import SEEDS_FOR_T, UNPAIRED, Estimate, sample
from ontogeny.store.run_group import Band, RunView

_UNPAIRED = "by more than two evaluations that are not paired can tell"

About = Literal["learned", "forgot", "memorized"]


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence, and its evidence in small print."""

    about: About
    text: str
    small: str


def sentences(band: Band) -> tuple[Sentence, Sentence, Sentence]:
    """What one run, or several that differ in the seed, learned, forgot and memorized."""
    return _learned(band), _forgot(band), _memorized(band)


def nats(x: float, digits: int = 2) -> str:
    """A loss: two decimals, three below 0.095; with a real minus sign."""
    if not np.isfinite(x):
        return "not a number"
    return f"{x:.{digits + (abs(x) < 0.095)}f}".replace("-", "−")


def signed(x: float) -> str:
    """The same with a sign."""
    return nats(x) if x < 0 or not np.isfinite(x) else f"+{nats(x)}"


def percent(x: float) -> str:
    """A share: 7.4%; whole numbers without a decimal."""
    return "not a number" if not np.isfinite(x) else f"{100 * x:.1f}%".replace(".0%", "%")


def interval(estimate: Estimate) -> str:
    """−5.27 (−5.40 to −5.14; 48 passages from 31 documents): a change, its interval and its sample."""
    kind = "" if estimate.how else "range "
    ends = f"{kind}{signed(estimate.ends[0])} to {signed(estimate.ends[1])}; " if estimate.ends else ""
    return f"{signed(estimate.value)} ({ends}{estimate.basis})"


def _went(change: LossChange) -> str:
    """Fell from a to b, or rose; or went from a to b where the interval (or the range of few seeds) contains 0."""
    verb = "fell" if change.difference.fell else "rose" if change.difference.rose else "went"
    return f"{verb} from {nats(change.first)} to {nats(change.last)}"


def _learned(band: Band) -> Sentence:
    trained = _changes(band, "trained")
    if not trained:
        return _learned_unseen(band)
    if bad := _not_finite(trained):
        return Sentence(
            about="learned", text=f"What it learned cannot be assessed: {bad}.", small=f"From {_span(trained[0])}."
        )
    if not all(change.difference.how for change in trained):
        start = "It is uncertain whether it learned the text it was trained on, since there is no interval"
    elif all(change.difference.below_zero for change in trained):
        start = "It learned the text it was trained on"
    elif any(change.difference.below_zero for change in trained):
        start = "It learned a part of the text it was trained on"
    elif any(change.difference.how == UNPAIRED for change in trained):
        start = f"It did not learn the text it was trained on {_UNPAIRED}"
    else:
        start = "It did not measurably learn the text it was trained on"
    few = _few_seeds(band, trained)
    start = f"{few} the" if few else f"{start}: the"
    text = f"{start} loss on {_joined([f'{change.probe} {_went(change)}' for change in trained])} nats per token"
    held = [change for change in _changes(band, "held out") if not _not_finite([change])]
    unseen = _joined([f"on unseen text of the same kind ({change.probe}) it {_carried(change)}" for change in held])
    text += f"; {unseen}" if unseen else ""
    lost = rounded_away(band)
    return Sentence(about="learned", text=f"{text}.{lost and f' {lost}'}", small=_small(band, [*trained, *held]))


def _learned_unseen(band: Band) -> Sentence:
    """Where no probe set is trained on: from the matrix R of tasks in sequence, else from unseen text of the kind."""
    if len(band.runs) == 1 and (rows := learned_tasks(band.runs[0])):
        start = "It learned each task in its own stage" if all(task.fell for task in rows) else "Task by task"
        went = [
            f"{'fell' if task.fell else 'rose' if task.rose else 'went'} from {nats(task.before)} to "
            f"{nats(task.after)} on {task.probe}"
            for task in rows
        ]
        small = "; ".join(f"{task.probe} {_of_stage(task)}" for task in rows)
        return Sentence(
            about="learned",
            text=f"{start}: on its unseen text the loss {_joined(went)}, in nats per token.",
            small=f"Change within the task's stage, from the matrix R of the analysis transfer: {small}.",
        )
    held = _changes(band, "held out")
    if not held or _not_finite(held):
        return _unknown(band, "learned", "trained", "text that it trains on")
    few = _few_seeds(band, held)
    fell = any(change.difference.below_zero for change in held)
    start = few or ("It learned:" if fell else "It did not measurably learn:")
    unseen = _joined([f"{_carried(change)} on {change.probe}" for change in held])
    text = f"{start} on unseen text of the kind that it trains on, the loss {unseen}, in nats per token."
    return Sentence(
        about="learned", text=text, small=f"{_small(band, held)} No probe set holds the very text it trains on."
    )


def _of_tasks_before(tasks: list[TaskChange]) -> str:
    """What became of each task after its own stage."""
    worse = [task for task in tasks if task.rose]
    start = "It forgot of the tasks before the last" if worse else "It forgot nothing measurable of earlier tasks"
    went = [f"from {nats(task.before)} to {nats(task.after)} on {task.probe}" for task in worse or tasks]
    verb = "rose" if worse else "went"
    return f"{start}: after its own stage the loss {verb} {_joined(went)}, in nats per token"


def _small_of_tasks(tasks: list[TaskChange]) -> str:
    """The evidence of it."""
    changes = "; ".join(f"{task.probe} {_of_stage(task)}" for task in tasks)
    return f"Change from the end of the task's stage to that of training, from the matrix R: {changes}."


def _of_stage(task: TaskChange) -> str:
    """A task's change, with its interval where it has one."""
    value = signed(task.after - task.before)
    if task.low is None or task.high is None:
        return f"{value} (no interval)"
    return f"{value} ({signed(-task.high)} to {signed(-task.low)}; {task.documents} documents)"


def _carried(change: LossChange) -> str:
    """How the loss on unseen text went, with its turn from falling to rising."""
    if change.turned:
        down = f"fell from {nats(change.first)} to {nats(change.lowest)} by step {change.lowest_step:,}"
        return f"{down} and then rose to {nats(change.last)}"
    if change.difference.fell or change.difference.rose or not change.difference.how:
        return _went(change)
    measurably = _UNPAIRED if change.difference.how == UNPAIRED else "measurably"
    return f"did not change {measurably} ({nats(change.first)} to {nats(change.last)})"


def _forgot(band: Band) -> Sentence:
    others = [change for role in ("another part", "replayed", "other") for change in _changes(band, role)]
    tasks_before = forgotten_tasks(band.runs[0]) if len(band.runs) == 1 else []
    if not others and tasks_before:
        return Sentence(about="forgot", text=f"{_of_tasks_before(tasks_before)}.", small=_small_of_tasks(tasks_before))
    if not others:
        return _unknown(band, "forgot", "other", "text of a corpus that it does not train on")
    if bad := _not_finite(others):
        return Sentence(
            about="forgot", text=f"What it forgot cannot be assessed: {bad}.", small=f"From {_span(others[0])}."
        )
    tasks = [task for change in others for task in accuracy_changes(band, change.probe)]
    text = _forgetting(band, others)
    worse = [task for task in tasks if task.difference.fell]
    if worse and any(change.difference.rose for change in others):
        accuracy = [f"{t.task} in {percent(t.last)} of cases, down from {percent(t.first)}" for t in worse]
        text += f"; it finds {_joined(accuracy)}"
    small = [_small(band, others)]
    if tasks_before:
        text += f". {_of_tasks_before(tasks_before)}"
        small.append(_small_of_tasks(tasks_before))
    small += [
        f"On {t.probe}, {t.task}: {percent(t.first)} to {percent(t.last)}, {points(t.difference)}." for t in tasks
    ]
    return Sentence(about="forgot", text=f"{text}.", small=" ".join(small))


def _forgetting(band: Band, others: list[LossChange]) -> str:
    """The sentence without its task results."""
    worse = [change for change in others if change.difference.above_zero]
    went = _joined([f"on {change.probe} the loss {_went(change)}" for change in worse or others])
    if few := _few_seeds(band, others):
        return f"{few} {went} nats per token"
    if worse:
        return f"It forgot: {went} nats per token"
    if any(change.turned for change in others):
        back = [f"on {change.probe} the loss {_carried(change)}" for change in others if change.turned]
        return f"It lost some of what it had learned along the way: {_joined(back)} nats per token"
    if (band.runs[0].recipe.get("model") or {}).get("kind") == "ladder":
        return f"It started from random weights and had nothing to forget: {went} nats per token"
    if not all(change.difference.how for change in others):
        return f"It is uncertain whether it forgot, since there is no interval: {went} nats per token"
    if all(change.difference.below_zero for change in others):
        return f"It forgot nothing: {went} nats per token"
    if any(change.difference.how == UNPAIRED for change in others):
        return f"It forgot nothing that two evaluations which are not paired can tell: {went} nats per token"
    return f"It forgot nothing measurable: {went} nats per token"


def points(difference: Estimate) -> str:
    """A difference of shares in percentage points; where no document differs, nothing says how much others might."""
    if difference.value == 0 and difference.ends == (0, 0):
        return f"+0.0 points (no interval, since none differs; {difference.basis})"
    points, *ends = (f"{100 * x:+.1f}".replace("-", "−") for x in (difference.value, *(difference.ends or ())))
    kind = "" if difference.how else "range "
    return f"{points} points ({kind}{ends[0]} to {ends[1]}; {difference.basis})" if ends else f"{points} points"


def _memorized(band: Band) -> Sentence:
    trained = _extracted(band, "trained")
    controls = [*_extracted(band, "held out"), *_extracted(band, "other")]
    if not trained:
        hint = "extraction was not measured on a trained probe set" if controls else "extraction was not measured"
        how = f"The measure extraction shows it: {how_to_add(band.runs[0], 'extraction')}."
        return Sentence(about="memorized", text=f"What it memorized is not known: {hint}.", small=how)
    text = _memory(trained, controls) if len(band.runs) == 1 else _memory_of_seeds(band, trained)
    shares = [*trained, *controls]
    lines = "; ".join(f"{share.probe} {_share(share)}" for share in shares)
    small = f"At the end (and at the first checkpoint): {lines}. {_how([share.last for share in shares])}."
    return Sentence(about="memorized", text=f"{text}.", small=small)


def _memory(trained: list[Extracted], controls: list[Extracted]) -> str:
    """The sentence for one run."""
    known = [share for share in trained if share.count]
    if not known:
        return f"Nothing was memorized verbatim: {_joined([f'{_of(share)}{_bound(share)}' for share in trained])}"
    text = f"It memorized {_joined([_of(share) for share in known])}{_criterion(known)}"
    control = _joined([_of(share) for share in controls])
    return f"{text}; of text that this run did not train on, it completes {control}" if control else text


def _of(share: Extracted) -> str:
    """3 of 48 passages from 31 documents of train."""
    return f"{share.count} of {sample(share.n, 'passage', share.documents)} of {share.probe}"


def _bound(share: Extracted) -> str:
    """How much may still be memorized where nothing was."""
    if share.last.ends is None:
        return ", too few documents to say how much may be"
    return f", at most {percent(share.last.high)} by a 95% bound"


def _memory_of_seeds(band: Band, trained: list[Extracted]) -> str:
    """The sentence for several seeds."""
    if not any(share.last.value for share in trained):
        none = _joined([f"0% of {share.probe}" for share in trained])
        return f"Nothing was memorized verbatim in any of these {len(band.runs)} runs ({none})"
    shares = _joined(
        [
            f"{percent(share.last.value)} of the {sample(share.n, 'passage', share.documents)} of {share.probe}"
            for share in trained
        ]
    )
    if all(share.last.how for share in trained):
        return f"It memorized, on average over seeds, {shares}{_criterion(trained)}"
    return f"These {len(band.runs)} runs memorized, on average, {shares}{_criterion(trained)}"


def _criterion(shares: list[Extracted]) -> str:
    """What counts as memorized."""
    if shares[0].tokens is None:
        return " word for word"
    prefix, suffix = shares[0].tokens
    return f": given their first {prefix} tokens, it writes the next {suffix} word for word"


def _share(share: Extracted) -> str:
    """47 of 47 passages from 31 documents, 90.8% to 100% (0%): count or mean, interval, and the share at first."""
    count = f"{share.count} of {sample(share.n, 'passage', share.documents)}"
    value = percent(share.last.value) if share.count is None else count
    kind = "" if share.last.how else "range "
    ends = f", {kind}{percent(share.last.ends[0])} to {percent(share.last.ends[1])}" if share.last.ends else ""
    short = f", {share.too_short} too short" if share.too_short else ""
    return f"{value}{ends}{short} ({percent(share.first.value)})"


def _how(estimates: list[Estimate]) -> str:
    """How the intervals of a line were computed, or why there are none."""
    methods = list(dict.fromkeys(estimate.how for estimate in estimates if estimate.how))
    reasons = list(dict.fromkeys(estimate.why for estimate in estimates if estimate.why))
    return "; ".join([f"95% {' and '.join(methods)}", *reasons] if methods else reasons) or "No intervals"


def _few_seeds(band: Band, changes: list[LossChange]) -> str:
    """How a sentence begins when the runs are too few for a claim about training; else empty."""
    several = len(band.runs) > 1 and any(change.difference.n < SEEDS_FOR_T for change in changes)
    return f"In these {len(band.runs)} runs" if several else ""


def _extracted(band: Band, role: str) -> list[Extracted]:
    return [share for name in with_role(band, role) if (share := extracted(band, name)) is not None and share.n]


def _changes(band: Band, role: str) -> list[LossChange]:
    return [change for name in with_role(band, role) if (change := loss_change(band, name)) is not None]


def _not_finite(changes: list[LossChange]) -> str:
    bad = [change.probe for change in changes if not np.isfinite(change.last)]
    return f"the loss on {_joined(bad)} is not a number at step {changes[0].last_step:,}" if bad else ""


def _small(band: Band, changes: list[LossChange]) -> str:
    """Differences with intervals, the checkpoints compared, and a warning where the lowest checkpoint was chosen."""
    parts = [f"{change.probe} {interval(change.difference)}" for change in changes]
    turns = [
        f"On {change.probe}, {signed(change.rise.value)} ({signed(change.rise.low)} to {signed(change.rise.high)}) "
        f"since the lowest of {change.checkpoints} checkpoints, which other documents chose."
        for change in changes
        if change.turned and change.rise
    ]
    how = _how([change.difference for change in changes])
    if any(change.difference.how == UNPAIRED for change in changes):
        turns.append(f"To compare the same documents: {how_to_add(band.runs[0], 'token_nll')}.")
    spans = list(dict.fromkeys(_span(change) for change in changes))
    return " ".join([f"Change from {' and '.join(spans)}: {'; '.join(parts)}. {how}.", *turns])


def _span(change: LossChange) -> str:
    return f"step {change.first_step:,} to step {change.last_step:,}"


def _unknown(band: Band, about: About, role: str, what: str) -> Sentence:
    """Nothing to compare: no probe set of that role, or fewer than two evaluations of it."""
    names = with_role(band, role)
    if not names:
        return Sentence(
            about=about,
            text=f"What it {about} is not known: no probe set holds {what}.",
            small="Name one under data.probes in the recipe.",
        )
    return Sentence(
        about=about,
        text=f"What it {about} is not known yet: fewer than two evaluations of {_joined(names)}.",
        small=f"The measure evaluation shows it: {how_to_add(band.runs[0], 'evaluation')}.",
    )


def how_to_add(run: RunView, kind: str) -> str:
    """The command that backfills a measure over saved checkpoints."""
    return f"ontogeny measure {shown_path(run)} --kind {kind}"


def shown_path(run: RunView) -> str:
    """A run's directory as a reader of the page may type it: the folder of runs and the run's name."""
    path = run.path
    return path.as_posix() if not path.is_absolute() else "/".join(path.parts[-2:])


def _joined(parts: list[str]) -> str:
    """a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
