"""Where one run ends and another begins: worked by hand on short logs."""

import numpy as np

from ontogeny.integrations.importers._segments import Cuts, cut


def cuts(steps: list[int], *series: list[tuple[int, float]], writers: list[str] | None = None) -> Cuts:
    """Series are lists of (entry, value)."""
    points = {
        f"s{i}": (np.array([e for e, _ in one], dtype=np.int64), np.array([v for _, v in one], dtype=np.float64))
        for i, one in enumerate(series)
    }
    return cut(np.array(steps, dtype=np.int64), points, writers)


def steps_of(found: Cuts, steps: list[int]) -> list[list[int]]:
    return [[steps[i] for i in one.points["s0"][0]] for one in found.cuts]


def all_of(values: list[float]) -> list[tuple[int, float]]:
    return list(enumerate(values))


def test_rising_steps_are_one_segment() -> None:
    assert len(cuts([1, 2, 3], all_of([3.0, 2.0, 1.0])).cuts) == 1


def test_an_evaluation_at_a_training_step_is_no_return() -> None:
    """Entries 0, 1, 2 stand at steps 1, 2, 2; each series has each step once."""
    assert len(cuts([1, 2, 2], [(0, 3.0), (1, 2.0)], [(2, 2.5)]).cuts) == 1


def test_a_return_to_the_middle_is_a_resumption() -> None:
    steps = [*range(0, 100, 5), *range(50, 120, 5)]
    found = cuts(steps, all_of([float(i) for i in range(len(steps))]))
    assert [one.beginning for one in found.cuts] == ["first", "resume"]
    assert found.cuts[1].first == 20


def test_a_return_to_the_beginning_is_another_run() -> None:
    steps = [*range(0, 100, 5), *range(0, 100, 5)]
    found = cuts(steps, all_of([float(i) for i in range(40)]))
    assert [one.beginning for one in found.cuts] == ["first", "restart"]


def test_a_run_with_a_wider_interval_begins_at_its_first_entry() -> None:
    """0 to 95 by fives, then 20, 40, 60 …: 20 is where a run that logs every 20 steps logs first."""
    steps = [*range(0, 100, 5), *range(20, 200, 20)]
    found = cuts(steps, all_of([float(i) for i in range(len(steps))]))
    assert [one.beginning for one in found.cuts] == ["first", "restart"]


def test_two_series_that_return_at_the_same_place_make_one_boundary() -> None:
    """Loss at every entry, evaluation at every second: the evaluation's return comes an entry later."""
    steps = [1, 2, 3, 4, 1, 2, 3, 4]
    found = cuts(steps, all_of([float(i) for i in range(8)]), [(1, 9.0), (3, 8.0), (5, 7.0), (7, 6.0)])
    assert len(found.cuts) == 2
    assert len(found.cuts[1].points["s1"][0]) == 2


def test_an_exact_repetition_is_dropped_and_counted() -> None:
    found = cuts([1, 2, 2, 3], all_of([3.0, 2.0, 2.0, 1.0]))
    assert steps_of(found, [1, 2, 2, 3]) == [[1, 2, 3]]
    assert found.notes == ["1 values repeat the one before at the same step: the copies were dropped"]


def test_another_value_for_the_same_step_is_not() -> None:
    assert len(cuts([1, 2, 2, 3], all_of([3.0, 2.0, 2.5, 1.0])).cuts) == 2


def test_two_interleaved_writers_are_told_apart() -> None:
    """A writes 1 2 3 … 20, B the same with its own values, one line each in turn."""
    steps = [step for step in range(1, 21) for _ in range(2)]
    values = [float(i % 2) * 100 + i for i in range(40)]
    found = cuts(steps, all_of(values))
    assert steps_of(found, steps) == [list(range(1, 21))] * 2
    assert {value < 100 for value in found.cuts[0].points["s0"][1]} == {True}
    assert any("2 writers" in note for note in found.notes)


def test_named_writers_are_cut_by_name() -> None:
    found = cuts([1, 1, 2, 2], all_of([1.0, 5.0, 2.0, 6.0]), writers=["a", "b", "a", "b"])
    assert [one.points["s0"][1].tolist() for one in found.cuts] == [[1.0, 2.0], [5.0, 6.0]]


def test_a_log_that_runs_backwards_is_turned() -> None:
    found = cuts([4, 3, 2, 1], all_of([1.0, 2.0, 3.0, 4.0]))
    assert found.cuts[0].points["s0"][1].tolist() == [4.0, 3.0, 2.0, 1.0]
    assert found.notes == ["the log runs backwards: its order was reversed"]
