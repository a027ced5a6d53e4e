"""Schedules against the schedulers of torch and transformers, numpy, and values worked by hand."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schedule import Cadence, Schedule, Scheduled


def curve(steps: int, **settings: Any) -> list[float]:
    schedule = Schedule.model_validate_json(json.dumps(settings))
    return [schedule.at(step, steps) for step in range(steps)]


def of_scheduler(steps: int, lr: float, build: Callable[[Any], Any]) -> list[float]:
    """The rates that a scheduler of torch's kind gives to `steps` updates."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = build(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant_by_hand() -> None:
    assert curve(3, value=0.5) == [0.5, 0.5, 0.5]


def test_warmup_by_hand() -> None:
    # 8 updates, a quarter of them warm-up: W = 2, so 1/3 and 2/3 of the value, then all of it.
    assert curve(8, value=3.0, warmup=0.25) == pytest.approx([1, 2, 3, 3, 3, 3, 3, 3])


def test_linear_by_hand() -> None:
    # From 1 to 0.2 over 4 updates: p = 0, 1/4, 2/4, 3/4.
    assert curve(4, shape="linear", value=1.0, final=0.2) == pytest.approx([1.0, 0.8, 0.6, 0.4])


def test_ramp_by_hand() -> None:
    assert curve(4, shape="ramp", value=1.0, final=0.2) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_wsd_by_hand() -> None:
    # 10 updates, 2 of warm-up (1/3, 2/3), the last 4 decay from 3 to 0 (p = 0, 1/4, 2/4, 3/4).
    assert curve(10, shape="wsd", value=3.0, warmup=0.2, decay=0.4) == pytest.approx(
        [1, 2, 3, 3, 3, 3, 3, 2.25, 1.5, 0.75]
    )


def test_stairs_by_hand() -> None:
    """3 of 6 updates each: from 3 to 1 the three values are 3, 2, 1; of a piecewise curve those at p = 0, 1/2, 1."""
    assert curve(6, shape="linear", value=3.0, final=1 / 3, stairs=3) == pytest.approx([3, 3, 2, 2, 1, 1])
    assert curve(6, shape="piecewise", points=[[0.5, 3.0], [1, 1.0]], stairs=3) == pytest.approx([3, 3, 3, 3, 1, 1])
    assert curve(4, shape="ramp", value=1.0, warmup=0.5, stairs=2) == pytest.approx([0, 0, 0, 1])


def test_values_are_all_that_a_curve_takes() -> None:
    stairs = Schedule(shape="linear", value=3.0, final=1 / 3, stairs=11)
    assert stairs.values == pytest.approx([3.0, 2.8, 2.6, 2.4, 2.2, 2.0, 1.8, 1.6, 1.4, 1.2, 1.0])
    for steps in (11, 50, 400):
        assert {stairs.at(step, steps) for step in range(steps)} == set(stairs.values)
    assert Schedule(value=2.0).values == (2.0,)
    assert Schedule(shape="piecewise", points=((0, 1.0), (0.5, 3.0), (1, 1.0)), stairs=3).values == (1.0, 3.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"shape": "linear", "value": 3.0, "final": 0.5},
        {"shape": "linear", "value": 3.0, "warmup": 0.1, "stairs": 3},
        {"shape": "wsd", "value": 3.0},
        {"value": 3.0, "warmup": 0.5},
    ],
)
def test_a_curve_that_moves_at_every_step_has_no_list_of_values(settings: dict[str, Any]) -> None:
    assert Schedule.model_validate_json(json.dumps(settings)).values is None


def test_linear_is_that_of_transformers_after_warmup() -> None:
    from transformers import get_linear_schedule_with_warmup

    theirs = of_scheduler(40, 0.1, lambda o: get_linear_schedule_with_warmup(o, 8, 40))
    assert curve(40, shape="linear", value=0.1, warmup=0.2)[8:] == pytest.approx(theirs[8:], rel=1e-12)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_is_that_of_transformers_after_warmup(final: float) -> None:
    from transformers import get_cosine_with_min_lr_schedule_with_warmup

    theirs = of_scheduler(40, 0.1, lambda o: get_cosine_with_min_lr_schedule_with_warmup(o, 4, 40, min_lr_rate=final))
    assert curve(40, shape="cosine", value=0.1, warmup=0.1, final=final)[4:] == pytest.approx(theirs[4:], rel=1e-9)


def test_cosine_is_that_of_torch() -> None:
    from torch.optim.lr_scheduler import CosineAnnealingLR

    theirs = of_scheduler(30, 0.1, lambda o: CosineAnnealingLR(o, T_max=30, eta_min=0.02))
    assert curve(30, shape="cosine", value=0.1, final=0.2) == pytest.approx(theirs, rel=1e-9)


def test_wsd_is_that_of_transformers_after_warmup() -> None:
    from transformers import get_wsd_schedule

    theirs = of_scheduler(
        50, 0.1, lambda o: get_wsd_schedule(o, 5, 20, num_training_steps=50, decay_type="linear", min_lr_ratio=0.1)
    )
    ours = curve(50, shape="wsd", value=0.1, warmup=0.1, decay=0.4, final=0.1)
    assert ours[5:] == pytest.approx(theirs[5:], rel=1e-9)


def test_cyclic_is_that_of_torch() -> None:
    from torch.optim.lr_scheduler import CyclicLR

    theirs = of_scheduler(
        48, 0.1, lambda o: CyclicLR(o, base_lr=0.02, max_lr=0.1, step_size_up=8, cycle_momentum=False)
    )
    assert curve(48, shape="cyclic", value=0.1, final=0.2, cycles=3) == pytest.approx(theirs, rel=1e-9)


def test_piecewise_is_linear_interpolation() -> None:
    points = [[0.1, 1.0], [0.5, 3.0], [0.8, 0.0]]
    expected = np.interp(np.arange(20) / 20, [0.1, 0.5, 0.8], [1.0, 3.0, 0.0])
    assert curve(20, shape="piecewise", points=points) == pytest.approx(expected.tolist())


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "wsd"])
def test_no_update_is_wasted_at_rate_zero(shape: str) -> None:
    assert min(curve(10, shape=shape, value=1.0, warmup=0.2)) > 0


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "wsd", "cyclic", "ramp"])
def test_a_run_of_one_update(shape: str) -> None:
    # p = 0: where the curve begins, which is the floor for those that begin low.
    settings = {} if shape == "constant" else {"final": 0.5}
    assert curve(1, shape=shape, value=2.0, **settings) == [1.0 if shape in ("cyclic", "ramp") else 2.0]


def test_beyond_the_end_the_curve_stays_where_it_ended() -> None:
    schedule = Schedule(shape="linear", value=1.0, final=0.25)
    assert [schedule.at(step, 4) for step in (4, 5, 400)] == [0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "cosine"}, "'value' is missing"),
        ({"shape": "cosine", "value": 1, "decay": 0.1}, "'decay' means nothing to shape 'cosine', only to wsd"),
        ({"value": 1, "final": 0.1}, "'final' means nothing to shape 'constant'"),
        ({"shape": "piecewise", "value": 1, "points": [[0, 1], [1, 0]]}, "'value' means nothing to shape 'piecewise'"),
        ({"shape": "piecewise", "points": [[0, 1]]}, "at least two points"),
        ({"shape": "piecewise", "points": [[0.5, 1], [0.2, 0]]}, "rising order"),
        ({"shape": "wsd", "value": 1, "warmup": 0.7, "decay": 0.4}, "add up to more than 1"),
        ({"value": 1, "warmup": 1.0}, "less than 1"),
    ],
)
def test_impossible_schedules(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Schedule.model_validate_json(json.dumps(settings))


SCHEDULED: TypeAdapter[Schedule] = TypeAdapter(Scheduled)


@pytest.mark.parametrize(
    ("written", "again"),
    [
        ("0.001", 0.001),
        ("2", 2.0),
        ('{"value": 0.001}', 0.001),
        ('{"shape": "constant", "value": 0.001, "warmup": 0.0}', 0.001),
        ('{"shape": "ramp", "value": 0.0}', {"shape": "ramp", "value": 0.0}),
        ('{"shape": "cosine", "value": 1, "final": 0.1}', {"shape": "cosine", "value": 1.0, "final": 0.1}),
        (
            '{"shape": "piecewise", "points": [[0, 1], [1, 0]]}',
            {"shape": "piecewise", "points": [[0.0, 1.0], [1.0, 0.0]]},
        ),
    ],
)
def test_schedules_are_read_and_written_as_short_as_can_be(written: str, again: Any) -> None:
    schedule = SCHEDULED.validate_json(written)
    assert SCHEDULED.dump_python(schedule, mode="json") == again
    assert SCHEDULED.validate_json(json.dumps(again)) == schedule


@pytest.mark.parametrize("written", ['"fast"', "true", "[1]", "null", '{"value": "1"}', '{"vlaue": 1}'])
def test_what_is_no_schedule(written: str) -> None:
    with pytest.raises(ValidationError):
        SCHEDULED.validate_json(written)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 10 updates, 4 to an epoch.
        ({"every_steps": 4}, {0, 4, 8, 10}),
        ({"every_steps": 99}, {0, 10}),
        ({"every_epochs": 1}, {0, 4, 8, 10}),
        ({"every_epochs": 0.5}, {0, 2, 4, 6, 8, 10}),
        ({"every_epochs": 0.3}, {0, 2, 3, 4, 5, 6, 8, 9, 10}),  # 1.2 2.4 3.6 4.8 6 7.2 8.4 9.6, each to the next state
        ({"steps": [3, 7, 99]}, {3, 7}),
        ({"epochs": [0.5, 2]}, {2, 8}),
        ({"epochs": [0.6]}, {3}),  # 2.4: between states 2 and 3, counted at the later one
        ({"log_spaced": 2}, {0, 1, 10}),
        ({"log_spaced": 3}, {0, 1, 3, 10}),  # 10^0, 10^0.5 = 3.16, 10^1
        ({"log_spaced": 5}, {0, 1, 2, 3, 6, 10}),  # 1, 1.78, 3.16, 5.62, 10
    ],
)
def test_cadences_by_hand(settings: dict[str, Any], expected: set[int]) -> None:
    assert Cadence.model_validate_json(json.dumps(settings)).states(10, 4) == expected


def test_epochs_that_floating_point_misses_by_a_hair() -> None:
    # 3 * 0.1 = 0.30000000000000004 epochs of 10 steps is state 3, not 4.
    assert Cadence(every_epochs=0.1).states(10, 10) == set(range(11))


def test_epochs_of_broken_length() -> None:
    # 2.5 steps to an epoch: epochs end at 2.5, 5, 7.5, that is at states 3, 5 and 8.
    assert Cadence(every_epochs=1).states(8, 2.5) == {0, 3, 5, 8}


@pytest.mark.parametrize("settings", [{}, {"every_steps": 1, "every_epochs": 1}, {"every_steps": None}])
def test_cadence_says_exactly_one_thing(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of every_steps, every_epochs, log_spaced, steps, epochs"):
        Cadence.model_validate_json(json.dumps(settings))


@pytest.mark.parametrize(
    "settings", [{"every_steps": 0}, {"every_epochs": 0}, {"log_spaced": 1}, {"steps": [-1]}, {"epochs": [-0.5]}]
)
def test_impossible_cadences(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="greater than"):
        Cadence.model_validate_json(json.dumps(settings))


def test_cadence_written_out_can_be_read_again() -> None:
    cadence = Cadence(every_epochs=0.5)
    assert Cadence.model_validate_json(cadence.model_dump_json()) == cadence


@pytest.mark.parametrize("points", [[[0, 1], [1.5, 2]], [[-0.1, 1], [1, 2]]])
def test_points_lie_within_training(points: list[list[float]]) -> None:
    with pytest.raises(ValidationError, match="progress runs from 0 to 1, found points from"):
        curve(4, shape="piecewise", points=points)


def test_lowest_by_hand() -> None:
    assert Schedule(shape="linear", value=1.0, final=0.5).lowest == 0
    assert Schedule(shape="ramp", value=-1.0, final=2.0).lowest == -2
    assert Schedule(shape="piecewise", points=((0.0, 1.0), (0.5, -3.0), (1.0, 2.0))).lowest == -3


@pytest.mark.parametrize(
    ("cadence", "count"),
    # 1e15 steps: every 4th is 2.5e14 states; every half epoch of 20 steps is one in ten, 1e14
    [({"every_steps": 4}, "2.5e\\+14"), ({"every_epochs": 0.5}, "1e\\+14"), ({"log_spaced": 10**12}, "1e\\+12")],
)
def test_states_without_end_are_refused_at_once(cadence: dict[str, float], count: str) -> None:
    with pytest.raises(OntogenyError, match=f"{next(iter(cadence))}: .* means {count} states in 1,000,000,000,000,000"):
        Cadence(**cadence).states(10**15, 20.0)


def test_a_long_training_with_few_states_is_fine() -> None:
    assert Cadence(every_steps=5 * 10**14).states(10**15, 20.0) == {0, 5 * 10**14, 10**15}
    assert Cadence(steps=(3,)).states(10**15, 20.0) == {3}
    assert len(Cadence(log_spaced=16).states(10**15, 20.0)) == 17  # 10^0 … 10^15, and 0
    assert len(Cadence(every_steps=1).states(1_000_000, 20.0)) == 1_000_001


@pytest.mark.parametrize(
    ("settings", "least", "constant"),
    [
        ({"value": 2.0}, 2.0, True),
        ({"shape": "linear", "value": 3.0, "final": 0.5}, 1.5, False),
        ({"shape": "cosine", "value": 3.0, "final": 1.0}, 3.0, True),
        ({"shape": "linear", "value": 3.0}, 0.0, False),
        ({"shape": "ramp", "value": 3.0, "final": 2.0}, 3.0, False),
        ({"value": 2.0, "warmup": 0.1}, 0.0, False),
        ({"shape": "piecewise", "points": [[0, 3.0], [0.5, 1.0], [1, 2.0]]}, 1.0, False),
        ({"shape": "piecewise", "points": [[0, 3.0], [1, 3.0]]}, 3.0, True),
    ],
)
def test_the_least_value_and_whether_it_changes(settings: dict[str, Any], least: float, constant: bool) -> None:
    """Beside the curve itself: no step is below `least`, and only a constant has one value."""
    schedule = Schedule.model_validate_json(json.dumps(settings))
    values = [schedule.at(step, 50) for step in range(50)]
    assert schedule.least == pytest.approx(least)
    assert min(values) >= least - 1e-12
    assert schedule.is_constant == constant
    assert (len({round(value, 9) for value in values}) == 1) == constant
