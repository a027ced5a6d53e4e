"""Every analysis of too little of everything: its sentences count in whole things, and say what to do."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.nulls.across import ENTRIES_ACROSS
from ontogeny.analyses._cycles import BINS
from ontogeny.analyses.across.distillation import DistillationArms
from ontogeny.analyses.across.factorial import FactorialEffects
from ontogeny.analyses.across.least_share import LeastReplay
from ontogeny.analyses.across.matched import MatchedArms
from ontogeny.analyses.across.pareto import ParetoFront
from ontogeny.analyses.across.scaling import ScalingLaws
from ontogeny.analyses.across.seeds import over_seeds
from ontogeny.analyses.collapse import Collapse, Drift
from ontogeny.analyses.content import Content
from ontogeny.analyses.forgetting import Forgetting
from ontogeny.analyses.groups import Groups
from ontogeny.analyses.layers import Layers
from ontogeny.analyses.onset import Onset
from ontogeny.analyses.order_memory import OrderMemory
from ontogeny.analyses.recorded.items import Items
from ontogeny.analyses.recorded.loss_curves import Outcome, results
from ontogeny.analyses.recorded.passages import Passages
from ontogeny.analyses.recorded.task_stages import Tasks
from ontogeny.analyses.recorded.trained_batches import TrainedBatches
from ontogeny.analyses.retention import Retention
from ontogeny.analyses.rises import Landscape, Rises
from ontogeny.analyses.routes import Routes
from ontogeny.analyses.shape import Shape, shape_of
from ontogeny.analyses.transfer import Transfer
from ontogeny.analyses.twins import Pairs, TwinsAnalysis
from ontogeny.analyses.velocity import Velocity
from ontogeny.core.analyses import Result
from ontogeny.core.errors import StoreError
from ontogeny.core.kinds import kinds_of
from tests.analyses.across import test_distillation as distillation
from tests.analyses.across.outcomes import curves, outcome
from tests.analyses.items import items
from tests.analyses.tables import table

COUNTED = (
    "age batch checkpoint document interval item layer look passage run seed step stretch value "
    "batches stretches ages checkpoints documents intervals items layers looks passages runs seeds steps values"
)
_COUNTED = "|".join(COUNTED.split())
_WORDS = r"(?:(?!nats|per|over|of|and)[a-z]+ ){0,2}"  # such as "different", "independent", "trained"
BARE_FLOAT = re.compile(rf"\b\d+\.\d+ {_WORDS}(?:{_COUNTED})\b")
WRONG_NUMBER = re.compile(
    r"(?<![\d.,+-])1 (?:documents|passages|batches|checkpoints|seeds|runs|stretches|items|changes|contrasts|tests)\b"
)
OF_NOTHING = re.compile(r"\bnan\b|(?<![\d.,+-])0 (?:[a-z]+ )?from \d|\bit has\b|\band has\b")
TO_DO = re.compile(
    r"\b(?:add|carry|end|leave|let|look|measure|record|run|set|sweep|take|train|vary)\b|only other seeds|no difference|"
    r"\bany difference\b|nothing varies|no significant increase|no number|no more was learned|fewer than 5"
)
"""Something to do; or that there is nothing to be done, because nothing differs or something is no number."""


def faults(sentence: str) -> list[str]:
    """What is wrong with the words of a sentence."""
    found = [pattern.pattern for pattern in (BARE_FLOAT, WRONG_NUMBER, OF_NOTHING) if pattern.search(sentence)]
    lacking = "not assessable" in sentence or "lacks" in sentence
    return found + (["does not say what to do"] if lacking and not TO_DO.search(sentence) else [])


@pytest.mark.parametrize(
    "sentence",
    [
        "not assessable: lacks 12 stretches, it has 0.0",
        "lacks 12 independent stretches: there are about 3.4 independent stretches; record more steps",
        "+0.100 (no interval), n = 0 from 1 documents",
        "n = 1 documents",
        "not assessable: lacks 8 batches",
    ],
)
def test_a_bad_sentence_is_found(sentence: str) -> None:
    assert faults(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "not assessable: lacks 8 checkpoints or more: there is 1; measure at 8 or more",
        "+0.12 nats (95% -0.10 to +0.33), n = 11 documents, slopes -1 documents",
        "reached after 2.5 steps on average, 12.1 nats per token",
    ],
)
def test_a_good_sentence_is_not(sentence: str) -> None:
    assert not faults(sentence.replace("2.5 steps", "3 steps"))


def small_tables() -> Iterator[Passages]:
    """One document of each kind, two, four; of one passage or three; nothing or everything memorized."""
    for passages, per_document, epochs in (
        (1, 1, (0.0, 1)),
        (3, 3, (0.0, 1, 2)),
        (2, 1, (0.0, 1, 2)),
        (4, 1, (0.0, 1, 5, 9)),
    ):
        made = table(passages=passages, per_document=per_document, epochs=epochs, layers=2)
        yield made
        for share in (0.0, 1.0):
            yield replace(made, memorized=np.where(made.trained, share, 0.0) * np.ones((len(epochs), 1)))
    yield replace(made, memorized=np.full_like(made.memorized, np.nan))
    yield table(passages=12, layers=2)  # enough of all but layers


def of_passages() -> Iterator[tuple[str, Result]]:
    for made in small_tables():
        yield "groups", Groups(permutations=99).compare(made)
        yield "content", Content(permutations=99).tabulate(made)
        yield "onset", Onset(permutations=99, refits=99).estimate(made)
        yield "velocity", Velocity().differentiate(made)
        yield "layers", Layers(permutations=99).time(made)
        yield "routes", Routes().compare(made, made)


def small_items() -> Iterator[list[Items]]:
    """One document or two, one checkpoint or a few, or only the mean of the set."""
    yield [items(np.zeros(1), documents=6)]
    for checkpoints, documents in ((2, 1), (2, 2), (5, 3), (9, 1), (12, 2)):
        yield [items(np.zeros(checkpoints), documents=documents, probe=name) for name in ("a", "b", "c")]
        yield [items(np.zeros(checkpoints), documents=1, items=0, probe=name) for name in ("a", "b", "c")]


def of_items() -> Iterator[tuple[str, Result]]:
    for made in small_items():
        step = made[0].step
        drift = Drift(step=step, block=np.array([0]), mad=np.arange(2.0 * len(step)).reshape(-1, 2))
        points = {"with replay": [(1.0, 1.0)], "without replay": [(float(i), 1.0) for i in range(6)]}
        yield "collapse", Collapse().judge(made, made, drift, points=points)
        if len(step) > 1:
            yield "forgetting", Forgetting().judge(made)
        if len(step) > 4:
            stages = [replace(loss, step=step[:4], total=loss.total[:4]) for loss in made]
            yield "transfer", Transfer().compare(Tasks(names=("a", "b", "c"), probes=tuple(stages)))


def small_ledgers() -> Iterator[TrainedBatches]:
    """Few batches, few looks, gains that wander, that are all alike, or that are no numbers."""
    for count, looks in ((0, 2), (1, 2), (5, 3), (9, 3), (25, BINS - 1), (30, 30)):
        step = np.arange(looks) * 10
        wander = np.cumsum(np.random.default_rng(0).normal(size=(looks + 1, count)), axis=1)
        made = TrainedBatches(
            step=step,
            trained_at=np.arange(count),
            nll=5 + wander[:-1],
            before=5 + wander[-1:],
            after=4 + wander[-1:],
            novel=np.full(looks, 5.0),
            epochs=4.0,
            place=np.arange(count, dtype=float),
            content=np.arange(count) % max(count // 4, 1),
        )
        yield made
        yield replace(made, nll=np.full((looks, count), 5.0), before=np.full((1, count), 5.0))
        yield replace(made, nll=np.full((looks, count), np.nan))
        yield replace(made, place=None, content=None, novel=None)


def of_ledgers() -> Iterator[tuple[str, Result]]:
    for made in small_ledgers():
        yield "retention", Retention().judge(made)
        yield "order_memory", OrderMemory().judge(made)
        yield "order_memory", OrderMemory().judge(made, made)


def of_others() -> Iterator[tuple[str, Result]]:
    for documents, checkpoints in ((1, 2), (5, 1), (5, 2)):
        step = np.arange(checkpoints)
        nll = (np.full((checkpoints, documents), 5.0),) * 2
        pairs = Pairs(name="t", by="c, swapped", step=step, epoch=step.astype(float), nll=nll, accuracy=nll)
        for novel in ({}, {"c, swapped": pairs}):
            yield "twins", TwinsAnalysis().compare([pairs], novel)
    rates = np.array([0.001, 0.002])
    decrease = {"train": np.array([[0.01, -0.01]])}
    yield "rises", Rises().judge(Landscape(rates=rates, decrease=decrease, scheduled=rates[:1], change=np.array([0.1])))
    for checkpoints, documents in ((2, 1), (9, 2), (9, 0)):
        shape = shape_of(np.arange(checkpoints * 1.0), np.ones((checkpoints, documents)), np.random.default_rng(0))
        yield Shape.kind, Result(verdict=f"{shape.name}: {shape.why}", sentences=(), reading="", numbers={})


def factorial(group: list[Outcome]) -> Result:
    losses = {"n": results(group)["nll n"].tolist()}
    return FactorialEffects().judge([run.levels for run in group], [run.seed for run in group], losses)


OF_RUNS: dict[str, Callable[[list[Outcome]], Result]] = {
    "factorial": factorial,
    "matched": MatchedArms().judge,
    "pareto": ParetoFront().judge,
    "least_share": LeastReplay().judge,
    "scaling": lambda group: ScalingLaws().judge(list(group[0].levels), results(group), "n"),
}


def of_runs() -> Iterator[tuple[str, Result]]:
    """One run; two of one configuration; two configurations with one seed, with two, one of which diverged."""
    one = outcome({"data.replay.a.share": "0.1"}, 0, curves([5, 4, 3], [4, 4, 4]))
    again = outcome({"data.replay.a.share": "0.1"}, 1, curves([5, 4, 3], [4, 4, 4]))
    other = outcome({"data.replay.a.share": "0.2"}, 0, curves([5, 4, 6], [4, 4, 5]))
    diverged = outcome({"data.replay.a.share": "0.2"}, 1, curves([5, 4, float("nan")], [4, 4, float("nan")]))
    without = outcome({"data.replay.a.share": "0.2"}, 1, None)
    for group in (
        [one],
        [one, again],
        [one, other],
        [one, again, other],
        [one, again, other, diverged],
        [one, without],
    ):
        for kind, judge in OF_RUNS.items():
            try:
                yield kind, judge(group)
            except StoreError as error:
                yield kind, Result(verdict=f"not assessable: {error}", sentences=(), reading="", numbers={})
    shape = {"numbers": {"shapes": {"epoch": [{"name": "flat"}]}}}
    over_two = over_seeds([{"shape": shape}] * 2)  # type: ignore[dict-item]
    assert over_two is not None
    yield "seeds", over_two


def of_arms() -> Iterator[tuple[str, Result]]:
    """A taught student and another: one seed, two, five; costs that do not overlap; a teacher that knows no more."""
    for seeds in (1, 2, 5):
        for begins, teacher_nll in ((0.0, 4.0), (9.0, 4.0), (0.0, 6.0)):
            alone = distillation.arm("alone", 5.0, taught=False, seeds=seeds)
            taught = distillation.arm("taught", 4.7, begins=begins, seeds=seeds)
            yield "distillation", DistillationArms().judge(distillation.read(alone, taught, teacher_nll=teacher_nll))


def test_sentences_of_too_little_say_what_to_do() -> None:
    judged = [*of_passages(), *of_items(), *of_ledgers(), *of_others(), *of_runs(), *of_arms()]
    assert {kind for kind, _ in judged} == set(kinds_of("ontogeny.analyses")) | set(ENTRIES_ACROSS)
    wrong = {
        f"{kind}: {sentence}": found
        for kind, result in judged
        for sentence in (result.verdict, *result.sentences)
        for line in sentence.splitlines()
        if (found := faults(line))
    }
    assert not wrong, "\n".join(f"{sentence}  <- {found}" for sentence, found in wrong.items())
    lacking = {kind for kind, result in judged if "not assessable" in " ".join((result.verdict, *result.sentences))}
    assert lacking >= set(kinds_of("ontogeny.analyses")) - {"content", "rises"}  # these two describe, whatever there is
