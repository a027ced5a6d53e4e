"""Three plain sentences computed from a run: what it learned, forgot and memorized; null results are said to be so."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ontogeny.report.changes import Change, Extracted, accuracies, change, extracted, with_role
from ontogeny.report.rounding import rounded_away
from ontogeny.statistics.estimates import SEEDS_FOR_T, Estimate
from ontogeny.store.run_group import Band, RunView

About = Literal["learned", "forgot", "memorized"]


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence, and in small print what it rests on."""

    about: About
    text: str
    small: str


def sentences(band: Band) -> tuple[Sentence, Sentence, Sentence]:
    """What the runs of a band (one run, or runs that differ in the seed) learned, forgot and memorized."""
    return _learned(band), _forgot(band), _memorized(band)


def number(x: float, digits: int = 2) -> str:
    """A loss for a sentence: two decimals, three below 0.095; with a real minus sign."""
    if not np.isfinite(x):
        return "not a number"
    return f"{x:.{digits + (abs(x) < 0.095)}f}".replace("-", "−")


def signed(x: float) -> str:
    """The same with a sign."""
    return number(x) if x < 0 or not np.isfinite(x) else f"+{number(x)}"


def percent(x: float) -> str:
    """A share for a sentence: 7.4%; whole numbers without a decimal."""
    return "not a number" if not np.isfinite(x) else f"{100 * x:.1f}%".replace(".0%", "%")


def interval(estimate: Estimate) -> str:
    """−5.27 (−5.40 to −5.14; 48 passages from 31 documents): a change with its interval and what it rests on."""
    what = "" if estimate.how else "range "
    ends = f"{what}{signed(estimate.ends[0])} to {signed(estimate.ends[1])}; " if estimate.ends else ""
    return f"{signed(estimate.value)} ({ends}{estimate.basis})"


def _went(one: Change) -> str:
    """Fell from a to b, rose from a to b, or went from a to b when the interval (the range of few seeds) holds zero."""
    verb = "fell" if one.difference.fell else "rose" if one.difference.rose else "went"
    return f"{verb} from {number(one.first)} to {number(one.last)}"


def _learned(band: Band) -> Sentence:
    trained = _changes(band, "trained")
    if not trained:
        return _unknown(band, "learned", "trained", "text that it trains on")
    if bad := _not_finite(trained):
        return Sentence(
            about="learned", text=f"What it learned cannot be said: {bad}.", small=f"From {_span(trained[0])}."
        )
    if not all(one.difference.how for one in trained):
        start = "Whether it learned the text it was trained on is uncertain, for want of an interval"
    elif all(one.difference.below_zero for one in trained):
        start = "It learned the text it was trained on"
    elif any(one.difference.below_zero for one in trained):
        start = "It learned a part of the text it was trained on"
    else:
        start = "It did not measurably learn the text it was trained on"
    few = _few_seeds(band, trained)
    start = f"{few} the" if few else f"{start}: the"
    text = f"{start} loss on {_joined([f'{one.probe} {_went(one)}' for one in trained])} nats per token"
    held = [one for one in _changes(band, "held out") if not _not_finite([one])]
    unseen = _joined([f"on unseen text of the same kind ({one.probe}) it {_carried(one)}" for one in held])
    text += f"; {unseen}" if unseen else ""
    lost = rounded_away(band)
    return Sentence(about="learned", text=f"{text}.{lost and f' {lost}'}", small=_small([*trained, *held]))


def _carried(one: Change) -> str:
    """What became of the loss on unseen text, its turn included."""
    if one.turned:
        down = f"fell from {number(one.first)} to {number(one.lowest)} by step {one.lowest_step:,}"
        return f"{down} and then rose to {number(one.last)}"
    if one.difference.fell or one.difference.rose or not one.difference.how:
        return _went(one)
    return f"did not change measurably ({number(one.first)} to {number(one.last)})"


def _forgot(band: Band) -> Sentence:
    others = _changes(band, "other")
    if not others:
        return _unknown(band, "forgot", "other", "text of a corpus that it does not train on")
    if bad := _not_finite(others):
        return Sentence(
            about="forgot", text=f"What it forgot cannot be said: {bad}.", small=f"From {_span(others[0])}."
        )
    tasks = [task for one in others for task in accuracies(band, one.probe)]
    text = _forgetting(band, others)
    worse = [task for task in tasks if task.difference.fell]
    if worse and any(one.difference.rose for one in others):
        found = [f"{t.task} in {percent(t.last)} of cases, before in {percent(t.first)}" for t in worse]
        text += f"; it finds {_joined(found)}"
    small = [_small(others)]
    small += [
        f"On {t.probe}, {t.task}: {percent(t.first)} to {percent(t.last)}, {_points(t.difference)}." for t in tasks
    ]
    return Sentence(about="forgot", text=f"{text}.", small=" ".join(small))


def _forgetting(band: Band, others: list[Change]) -> str:
    """The sentence without its task results."""
    worse = [one for one in others if one.difference.above_zero]
    went = _joined([f"on {one.probe} the loss {_went(one)}" for one in worse or others])
    if few := _few_seeds(band, others):
        return f"{few} {went} nats per token"
    if worse:
        return f"It forgot: {went} nats per token"
    if any(one.turned for one in others):
        back = [f"on {one.probe} the loss {_carried(one)}" for one in others if one.turned]
        return f"It lost again some of what it learned on the way: {_joined(back)} nats per token"
    if (band.runs[0].recipe.get("model") or {}).get("kind") == "ladder":
        return f"It began with random weights and had nothing to forget: {went} nats per token"
    if not all(one.difference.how for one in others):
        return f"Whether it forgot is uncertain, for want of an interval: {went} nats per token"
    measurable = "" if all(one.difference.below_zero for one in others) else " measurable"
    return f"It forgot nothing{measurable}: {went} nats per token"


def _points(difference: Estimate) -> str:
    """A difference of shares in percentage points."""
    at, *ends = (f"{100 * x:+.1f}".replace("-", "−") for x in (difference.value, *(difference.ends or ())))
    what = "" if difference.how else "range "
    return f"{at} points ({what}{ends[0]} to {ends[1]}; {difference.basis})" if ends else f"{at} points"


def _memorized(band: Band) -> Sentence:
    trained = _extracted(band, "trained")
    controls = [*_extracted(band, "held out"), *_extracted(band, "other")]
    if not trained:
        hint = "no trained probe set was looked at" if controls else "no measure looked for it"
        how = f"The measure extraction shows it: {how_to_add(band.runs[0], 'extraction')}."
        return Sentence(about="memorized", text=f"What it memorized is not known: {hint}.", small=how)
    text = _memory(trained, controls) if len(band.runs) == 1 else _memory_of_seeds(band, trained)
    asked = [*trained, *controls]
    lines = "; ".join(f"{one.probe} {_share(one)}" for one in asked)
    caution = "" if len(band.runs) > 1 else ", passages counted as independent"
    small = f"At the end (and at the first checkpoint): {lines}. {_how([one.last for one in asked])}{caution}."
    return Sentence(about="memorized", text=f"{text}.", small=small)


def _memory(trained: list[Extracted], controls: list[Extracted]) -> str:
    """The sentence for one run."""
    known = [one for one in trained if one.count]
    if not known:
        none = [
            f"0 of {one.n} passages of {one.probe}, at most {percent(one.last.high)} by a 95% interval"
            for one in trained
        ]
        return f"Nothing was memorized verbatim ({_joined(none)})"
    text = (
        f"It memorized {_joined([f'{one.count} of {one.n} passages of {one.probe}' for one in known])}{_asked(known)}"
    )
    seen = _joined([f"{one.count} of {one.n} in {one.probe}" for one in controls])
    return f"{text}; of text it never trained on, it completes {seen}" if seen else text


def _memory_of_seeds(band: Band, trained: list[Extracted]) -> str:
    """The sentence for several seeds."""
    if not any(one.last.value for one in trained):
        none = _joined([f"0% of {one.probe}" for one in trained])
        return f"Nothing was memorized verbatim in any of these {len(band.runs)} runs ({none})"
    shares = _joined([f"{percent(one.last.value)} of the {one.n} passages of {one.probe}" for one in trained])
    if all(one.last.how for one in trained):
        return f"It memorized, on average over seeds, {shares}{_asked(trained)}"
    return f"These {len(band.runs)} runs memorized, on average, {shares}{_asked(trained)}"


def _asked(found: list[Extracted]) -> str:
    """What counts as memorized."""
    if found[0].tokens is None:
        return " word for word"
    given, out = found[0].tokens
    return f": given their first {given} tokens, it writes the next {out} word for word"


def _share(one: Extracted) -> str:
    """47 of 47, 92.4% to 100% (0%): count or mean, interval, and the share at the first checkpoint."""
    value = percent(one.last.value) if one.count is None else f"{one.count} of {one.n}"
    what = "" if one.last.how else "range "
    ends = f", {what}{percent(one.last.ends[0])} to {percent(one.last.ends[1])}" if one.last.ends else ""
    short = f", {one.too_short} too short" if one.too_short else ""
    return f"{value}{ends}{short} ({percent(one.first.value)})"


def _how(estimates: list[Estimate]) -> str:
    """How the intervals of a line were made, or why there are none."""
    ways = list(dict.fromkeys(one.how for one in estimates if one.how))
    reasons = list(dict.fromkeys(one.why for one in estimates if one.why))
    made = [f"95% {' and '.join(ways)}"] if ways else []
    return "; ".join([*made, *reasons]) or "No intervals"


def _few_seeds(band: Band, changes: list[Change]) -> str:
    """How a sentence about runs begins that are too few for a claim about training; empty if they are not."""
    several = len(band.runs) > 1 and any(one.difference.n < SEEDS_FOR_T for one in changes)
    return f"In these {len(band.runs)} runs" if several else ""


def _extracted(band: Band, role: str) -> list[Extracted]:
    return [one for name in with_role(band, role) if (one := extracted(band, name)) is not None and one.n]


def _changes(band: Band, role: str) -> list[Change]:
    return [one for name in with_role(band, role) if (one := change(band, name)) is not None]


def _not_finite(changes: list[Change]) -> str:
    bad = [one.probe for one in changes if not np.isfinite(one.last)]
    return f"the loss on {_joined(bad)} is not a number at step {changes[0].last_step:,}" if bad else ""


def _small(changes: list[Change]) -> str:
    """Differences with intervals; the span; what to hold against a minimum that was picked."""
    parts = [f"{one.probe} {interval(one.difference)}" for one in changes]
    turns = [
        f"On {one.probe}, {signed(one.rise.value)} ({signed(one.rise.low)} to {signed(one.rise.high)}) since "
        f"the lowest of {one.checkpoints} checkpoints; picking the lowest exaggerates this a little."
        for one in changes
        if one.turned and one.rise
    ]
    how = _how([one.difference for one in changes])
    return " ".join([f"Change from {_span(changes[0])}: {'; '.join(parts)}. {how}.", *turns])


def _span(one: Change) -> str:
    return f"step {one.first_step:,} to step {one.last_step:,}"


def _unknown(band: Band, about: About, role: str, what: str) -> Sentence:
    """Nothing to compare: no probe set of that role, or fewer than two looks at it."""
    names = with_role(band, role)
    if not names:
        return Sentence(
            about=about,
            text=f"What it {about} is not known: no probe set holds {what}.",
            small="Name one under data.probes in the recipe.",
        )
    return Sentence(
        about=about,
        text=f"What it {about} is not known yet: fewer than two looks at {_joined(names)}.",
        small=f"The measure evaluation shows it: {how_to_add(band.runs[0], 'evaluation')}.",
    )


def how_to_add(run: RunView, kind: str) -> str:
    """The command that backfills a measure over saved checkpoints."""
    return f"ontogeny measure {shown_path(run)} --kind {kind}"


def shown_path(run: RunView) -> str:
    """A run's directory as a reader of the page may type it, without what stands above the folder of runs."""
    path = run.path
    return path.as_posix() if not path.is_absolute() else "/".join(path.parts[-2:])


def _joined(parts: list[str]) -> str:
    """a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
