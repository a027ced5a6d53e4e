"""Rules of the family `continuity`, on logs written down by hand."""

import numpy as np

from ontogeny.diagnosis.rules.continuity import (
    cut_short,
    level_shift,
    missing_entries,
    resume_jump,
    several_runs,
    values_disagree_after_resume,
)
from ontogeny.integrations.importers._builder import Builder
from ontogeny.store.history import History
from tests.diagnosis.curves import found, history, is_clear, lacks


def written(*entries: tuple[int, float]) -> History:
    """A log of (step, loss) in this order."""
    builder = Builder("by hand", "by hand")
    for row, (step, loss) in enumerate(entries, 1):
        builder.add(row, {"loss": loss}, step=step)
    return builder.build()


RUN = [(s, 3.0 - 0.01 * s) for s in range(1, 61)]


def test_two_runs_in_a_file_are_kept_apart_and_told() -> None:
    log = written(*RUN, *RUN[:20])
    finding = found(several_runs, log)
    assert finding.numbers["runs"] == 2
    assert "from 60 to 1 at line 61" in finding.statement
    assert is_clear(several_runs, written(*RUN))


def test_repeated_steps_with_other_values() -> None:
    # steps 51 to 60 again, 0.05 higher: 10 steps
    again = [(s, loss + 0.05) for s, loss in RUN[50:]]
    finding = found(values_disagree_after_resume, written(*RUN, *again))
    assert finding.numbers["repeated_steps"] == 10
    assert np.isclose(float(finding.numbers["difference"]), 0.05)
    assert "resumption" in lacks(values_disagree_after_resume, written(*RUN))


def test_steps_repeated_to_the_digit_are_copies() -> None:
    log = written(*RUN, *RUN[50:], *[(s, 3.0 - 0.01 * s) for s in range(61, 71)])
    assert is_clear(values_disagree_after_resume, log)


def test_a_loss_that_doubles_where_it_was_resumed() -> None:
    # median of 2.50 to 2.41 before is 2.455 (20 entries: 2.60 to 2.41, median 2.505); after: x 2
    later = [(s, 2 * (3.0 - 0.01 * s)) for s in range(58, 100)]
    finding = found(resume_jump, written(*RUN, *later))
    assert finding.severity == "error"
    assert float(finding.numbers["after"]) > 1.8 * float(finding.numbers["before"]) * 0.9
    assert is_clear(resume_jump, written(*RUN, *[(s, 3.0 - 0.01 * s + 1e-4) for s in range(58, 100)]))


def test_loss_and_rate_break_at_one_step() -> None:
    # the first 5 of 60 entries: 30% lower, at a rate that falls and then rises from 0.95e-4 to 1e-4
    steps = list(range(1, 61))
    loss = [2.0 - 0.001 * s + 0.002 * (s % 2) for s in steps]
    rate = [1e-4 * (1 - s / 100) for s in steps]
    broken = [0.7 * v if s <= 5 else v for s, v in zip(steps, loss, strict=True)]
    lower = [0.8 * v if s <= 5 else v for s, v in zip(steps, rate, strict=True)]
    finding = found(level_shift, history(loss=(steps, broken), learning_rate=(steps, lower)))
    assert finding.numbers["at_step"] == 6
    assert is_clear(level_shift, history(loss=(steps, loss), learning_rate=(steps, rate)))
    assert is_clear(level_shift, history(loss=(steps, broken), learning_rate=(steps, rate)))  # the rate goes on


def test_a_hole_in_a_regular_log() -> None:
    # one entry per step; 30 to 49 are gone, so 29 is followed by 50: 20 missing
    finding = found(missing_entries, written(*RUN[:29], *RUN[49:], *[(s, 2.0) for s in range(61, 90)]))
    assert finding.numbers["missing"] == 20
    assert is_clear(missing_entries, written(*RUN))
    assert "regular" in lacks(missing_entries, written(*[(s * s, 1.0 / s) for s in range(1, 60)]))


def test_a_log_that_ends_at_a_fifth_of_its_plan() -> None:
    steps = list(range(1, 21))
    log = history({"max_steps": 100}, loss=(steps, [2.0] * 20), learning_rate=(steps, [1e-4] * 20))
    finding = found(cut_short, log)
    assert finding.numbers["share_done"] == 0.2
    assert "a learning rate of 0.0001" in finding.statement
    assert is_clear(cut_short, history({"max_steps": 20}, loss=(steps, [2.0] * 20)))
    assert "planned" in lacks(cut_short, history(loss=(steps, [2.0] * 20)))


def test_a_crash_behind_the_last_entry_is_an_error_and_one_before_it_is_not() -> None:
    steps = list(range(1, 21))
    ended = history(
        {"errors": [(21, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")]},
        loss=(steps, [2.0] * 20),
    )
    finding = found(cut_short, ended)
    assert finding.severity == "error"
    assert "line 21 says: torch.OutOfMemoryError" in finding.statement
    assert "batch size" in finding.remedy
    went_on = history({"errors": [(3, "ValueError: retried")]}, loss=(steps, [2.0] * 20))
    assert lacks(cut_short, went_on)


def test_a_run_that_was_stopped_by_hand_is_noted() -> None:
    steps = list(range(1, 21))
    log = history({"errors": [(21, "KeyboardInterrupt")]}, loss=(steps, [2.0] * 20))
    assert found(cut_short, log).severity == "note"
