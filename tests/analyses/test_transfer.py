"""R worked by hand, transfer recovered within its interval, none in noise; and stages found in a recorded run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontogeny.analyses.recorded import task_stages as _stages
from ontogeny.analyses.recorded.task_stages import Tasks, tasks_in
from ontogeny.analyses.transfer import Transfer
from ontogeny.core.errors import StoreError
from tests.analyses.items import items

R = np.array([[5.0, 4.0, 6.0], [3.0, 3.8, 6.1], [3.4, 2.0, 6.0], [3.6, 2.5, 4.0]])
"""Before training, and after each of three stages."""


def tasks(matrix: np.ndarray = R, seed: int = 0, noise: float = 0.0, documents: int = 12) -> Tasks:
    """Losses as in the matrix, plus a level of each document, which falls out of differences."""
    made = [
        items(column - 4, seed * 10 + j, noise=noise, documents=documents, probe=f"p{j}", role="held out")
        for j, column in enumerate(matrix.T)
    ]
    return Tasks(names=tuple(f"t{j}/train" for j in range(matrix.shape[1])), probes=tuple(made))


def test_by_hand() -> None:
    """learned: 5-3, 3.8-2, 6-4 = 2, 1.8, 2, mean 5.8/3. backward: 3-3.6 = -0.6, 2-2.5 = -0.5, mean -0.55. forward:
    4-3.8 = 0.2, 6-6.0 = 0, mean 0.1. forgetting: 3.6 - min(3, 3.4) = 0.6, 2.5 - min(3.8, 2) = 0.5, mean 0.55.
    """
    found = Transfer().compare(tasks()).numbers
    values = {key: [one["difference"].value for one in found[key]] for key in ("learned", "backward", "forward")}
    assert values["learned"] == pytest.approx([2, 1.8, 2])
    assert values["backward"] == pytest.approx([-0.6, -0.5])
    assert values["forward"] == pytest.approx([0.2, 0])
    assert [one["difference"].value for one in found["forgetting"]] == pytest.approx([0.6, 0.5])
    means = {key: one.value for key, one in found["mean"].items()}
    assert means == pytest.approx({"learned": 5.8 / 3, "backward": -0.55, "forward": 0.1, "forgetting": 0.55})
    assert np.diff(found["R"], axis=0) == pytest.approx(np.diff(R, axis=0))


def test_means_lie_in_their_intervals() -> None:
    """Each in about 95 of 100 draws; 88 or fewer have a probability of 0.4%."""
    true = {"learned": 5.8 / 3, "backward": -0.55, "forward": 0.1, "forgetting": 0.55}
    held = dict.fromkeys(true, 0)
    for seed in range(100):
        found = Transfer(seed=seed).compare(tasks(seed=seed, noise=0.2)).numbers["mean"]
        for key, value in true.items():
            held[key] += found[key].low <= value <= found[key].high
    assert min(held.values()) >= 88


def test_noise_transfers_nothing() -> None:
    """100 draws; any of the seven sure differences but what was learned, at 5% for the family: 11 or more have 1.1%."""
    claims = 0
    for seed in range(100):
        found = Transfer(seed=seed).compare(tasks(np.full((4, 3), 4.0), seed, noise=0.3))
        claims += found.verdict != "no task surely changed another"
    assert claims <= 10


def test_the_verdict_names_who_lost_and_who_was_helped() -> None:
    assert Transfer().compare(tasks(noise=0.02)).verdict == (
        "later tasks took from t0/train, t1/train; earlier tasks helped t1/train"
    )


@dataclass(frozen=True)
class Recorded:
    """A run's recipe and provenance."""

    recipe: dict[str, Any]
    provenance: dict[str, Any]
    path: Path = Path("run")
    measures: tuple[str, ...] = ()
    status: dict[str, Any] = field(default_factory=lambda: {"total_steps": 10})


def recorded(monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...], **train: Any) -> Recorded:
    """Two corpora, 60 and 20 passages in ten steps of eight; looked at at these steps."""
    counts = {"a": 100, "b": 20}
    sets = {name: {"of": f"{name}/novel"} for name in counts}
    takes = [{"of": "a/train", "count": None, "at_most": 60}, {"of": "b/train", "count": None, "at_most": 60}]
    looked = [items(np.arange(len(steps)), step=np.array(steps), probe=name, role="held out") for name in counts]
    monkeypatch.setattr(_stages, "losses_of", lambda run: looked)
    corpora = {name: {"splits": {"train": {"passages": n}}} for name, n in counts.items()}
    return Recorded(
        recipe={
            "data": {"train": takes, "probes": sets},
            "train": {"order": {"kind": "sequential"}, "epochs": 1, **train},
        },
        provenance={"data": {"corpora": corpora, "train": {"passages": 80}}},
    )


def test_stages_end_where_their_passages_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 of 80 passages in 10 steps: the first task ends at 7.5, so at state 8."""
    found = tasks_in(recorded(monkeypatch, (0, 2, 4, 8, 10)), None, None)
    assert found.names == ("a/train", "b/train")
    assert [one.step.tolist() for one in found.probes] == [[0, 8, 10], [0, 8, 10]]


@pytest.mark.parametrize(
    ("steps", "train", "says"),
    [
        ((0, 5, 10), {}, "no checkpoint at step 8"),
        ((0, 8, 10), {"order": {"kind": "shuffled"}}, "train.order: sequential"),
        ((0, 8, 10), {"epochs": 2}, "train.epochs: 1"),
    ],
)
def test_what_is_no_sequence_is_said(
    monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...], train: dict[str, Any], says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        tasks_in(recorded(monkeypatch, steps, **train), None, None)


def test_stages_and_sets_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded(monkeypatch, (0, 5, 10), order={"kind": "shuffled"})
    assert [one.probe for one in tasks_in(run, ("b", "a"), (5, 10)).probes] == ["b", "a"]
    with pytest.raises(StoreError, match="two tasks share the probe set a"):
        tasks_in(run, ("a", "a"), (5, 10))


def test_a_task_whose_loss_is_no_number_is_named_and_not_called_unchanged() -> None:
    diverged = tasks(noise=0.02)
    diverged.probes[0].total[-1] = np.nan
    result = Transfer().compare(diverged)
    lack = "not assessable: the loss on t0/train is no number after some stage: look at what made it none"
    assert result.verdict.endswith(lack)
    assert f"t0/train, backward: {lack}" in result.sentences
    for probe in diverged.probes[1:]:
        probe.total[-1] = np.nan
        probe.total[0] = np.nan
    assert (
        Transfer()
        .compare(diverged)
        .verdict.startswith("not assessable: the loss on t0/train, t1/train, t2/train is no number")
    )
