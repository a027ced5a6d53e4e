"""Rules of the family `generalisation`, on curves written down by hand."""

import numpy as np

from ontogeny.core.verdicts import Clear, Finding
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rules.generalisation import (
    epoch_staircase,
    forgetting,
    generalisation_gap,
    no_evaluation,
    overfitting,
    suspected_leak,
)
from ontogeny.integrations.importers._builder import Builder
from ontogeny.store.history import History
from tests.diagnosis.curves import found, history, is_clear, lacks


def test_overfitting_names_the_turn_and_the_rise() -> None:
    # lowest 2.0 at step 30; 2.15, 2.25, 2.4 after it; 2.4 / 2.0 - 1 = 20%; training loss falls from 1.9 to 0.5
    log = history(
        loss=([10, 20, 30, 40, 50, 60, 70], [3.0, 2.4, 1.9, 1.5, 1.1, 0.8, 0.5]),
        eval_loss=([10, 20, 30, 40, 50, 60], [2.95, 2.35, 2.0, 2.15, 2.25, 2.4]),
    )
    (verdict,) = examine(log, [overfitting]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "error"
    assert verdict.numbers["best_step"] == 30
    assert np.isclose(float(verdict.numbers["rise"]), 0.2)
    assert verdict.evidence[0].steps == (10, 30, 40, 50, 60)


def test_text_of_another_kind_that_rises_from_the_start_is_no_overfitting() -> None:
    """Held-out text falls to 2.0 and rises to 2.4; general text, which only rises (by more), is forgotten."""
    steps = [0, 10, 20, 30, 40, 50]
    novel, general = [3.0, 2.0, 2.1, 2.2, 2.3, 2.4], [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    finding = found(overfitting, history(**{"eval_novel_loss": (steps, novel), "eval_general_loss": (steps, general)}))
    assert finding.numbers["best"] == 2.0
    assert finding.numbers["last"] == 2.4
    alone = found(overfitting, history(eval_loss=(steps, general)))
    assert alone.numbers["last"] == 4.5


def test_one_high_last_evaluation_is_no_overfitting() -> None:
    log = history(
        loss=([10, 20, 30, 40], [3.0, 2.5, 2.2, 2.0]), eval_loss=([10, 20, 30, 40, 50], [2.9, 2.4, 2.1, 2.0, 2.1])
    )
    assert isinstance(examine(log, [overfitting]).verdicts[0], Clear)


def test_a_rise_from_the_first_evaluation_on() -> None:
    # 0.3075 to 0.4679 is +52%; the training loss falls
    log = history(
        loss=(range(10, 60, 5), [0.9, 0.5, 0.3, 0.2, 0.1, 0.08, 0.06, 0.04, 0.02, 0.01]),
        eval_loss=([10, 20, 30, 40, 50], [0.3075, 0.3558, 0.4214, 0.4519, 0.4679]),
    )
    finding = found(overfitting, log)
    assert (finding.severity, finding.certainty) == ("error", "certain")
    assert round(float(finding.numbers["rise"]), 2) == 0.52
    assert is_clear(overfitting, history(eval_loss=([10, 20, 30, 40, 50], [2.0, 2.02, 2.03, 2.03, 2.04])))  # 2%


def test_a_rise_is_milder_while_the_quality_still_improves() -> None:
    losses = ([10, 20, 30, 40, 50], [0.3075, 0.3558, 0.4214, 0.4519, 0.4679])
    finding = found(overfitting, history(eval_loss=losses, eval_wer=(losses[0], [34.6, 33.9, 33.0, 32.4, 32.1])))
    assert (finding.severity, finding.certainty) == ("warning", "possible")
    assert finding.statement.endswith("eval_wer still improves")
    worse = history(eval_loss=losses, eval_wer=(losses[0], [34.6, 35.0, 36.0, 36.5, 37.0]))
    assert found(overfitting, worse).severity == "error"


def test_of_four_evaluations_a_steady_rise_is_possible_and_two_are_too_few() -> None:
    finding = found(overfitting, history(eval_loss=([1, 2, 3, 4], [2.0, 2.1, 2.2, 2.3])))  # +15%
    assert (finding.severity, finding.certainty) == ("warning", "possible")
    assert is_clear(overfitting, history(eval_loss=([1, 2, 3, 4], [2.0, 2.2, 2.1, 2.3])))  # falls in between
    assert "evaluation loss" in lacks(overfitting, history(eval_loss=([1, 2], [2.0, 2.3])))


def test_one_lucky_value_is_no_minimum() -> None:
    """Nine values about 0.557, one of 0.546: the last is 2% above it, and 0.2% above the lowest median of three."""
    values = [0.60, 0.58, 0.557, 0.558, 0.556, 0.546, 0.557, 0.558, 0.557, 0.558]
    assert is_clear(overfitting, history(eval_loss=(range(10), values)))
    turned = [0.60, 0.58, 0.557, 0.550, 0.547, 0.546, 0.549, 0.553, 0.558, 0.565]
    assert found(overfitting, history(eval_loss=(range(10), turned))).severity == "warning"


def of_epochs(values: list[float], per_epoch: int, **evaluated: float) -> History:
    """One entry per step, so many to an epoch."""
    builder = Builder("by hand", "by hand")
    for i, value in enumerate(values):
        builder.add(i + 1, {"loss": value}, step=i + 1, epoch=(i + 1) / per_epoch)
    for label, value in evaluated.items():
        builder.add(len(values) + 1, {label: value}, step=len(values), epoch=len(values) / per_epoch)
    return builder.build()


WOBBLE = [0.01 * (-1) ** i for i in range(20)]


def test_a_loss_that_steps_down_where_the_data_begin_again() -> None:
    # three epochs of 20 entries: 1.1, 0.76, 0.45, flat inside each
    values = [level + w for level in (1.1, 0.76, 0.45) for w in WOBBLE]
    finding = found(epoch_staircase, of_epochs(values, per_epoch=20))
    assert finding.numbers["edges"] == 2
    assert finding.numbers["steps"] == 2
    assert np.isclose(float(finding.numbers["before"]), 1.1)
    assert finding.severity == "warning"
    assert found(epoch_staircase, of_epochs(values, 20, eval_loss=1.0)).severity == "note"


def test_a_smooth_fall_over_epochs_is_no_staircase() -> None:
    assert is_clear(epoch_staircase, of_epochs([2 - 0.02 * i + WOBBLE[i % 20] for i in range(60)], per_epoch=20))
    assert is_clear(epoch_staircase, of_epochs([v + w for v in (1.402, 1.394, 1.366) for w in WOBBLE], per_epoch=20))
    assert "epoch" in lacks(epoch_staircase, history(loss=(list(range(60)), [1.0] * 60)))


def test_held_out_text_that_is_too_predictable() -> None:
    loss = ([1, 2, 3, 4, 5], [7.46, 4.0, 1.5, 0.4, 0.15])
    finding = found(suspected_leak, history(loss=loss, eval_loss=([1, 2, 3, 4, 5], [6.6, 3.0, 1.0, 0.3, 0.0668])))
    # exp(0.0668) = 1.069
    assert np.isclose(float(finding.numbers["perplexity"]), 1.069, atol=1e-3)
    assert is_clear(suspected_leak, history(loss=loss, eval_loss=([1, 2, 3, 4, 5], [6.6, 5.9, 5.5, 5.3, 5.2])))


def test_epochs_without_evaluation() -> None:
    values = [2.0 - 0.016 * i for i in range(100)]  # 2.0 to 0.42 over five epochs
    assert found(no_evaluation, of_epochs(values, per_epoch=20)).numbers["epochs"] == 4.95
    assert is_clear(no_evaluation, of_epochs(values, 20, eval_loss=1.0))
    assert is_clear(no_evaluation, of_epochs(values, per_epoch=90))


def test_a_gap_that_opens_while_evaluation_stands_still() -> None:
    steps = list(range(1, 101))
    loss = [3.0 * 0.985**s for s in steps]  # 2.96 to 0.66
    evaluated = list(range(10, 101, 10))
    level = [2.62, 2.45, 2.41, 2.40, 2.395, 2.394, 2.393, 2.393, 2.393, 2.393]
    finding = found(generalisation_gap, history(loss=(steps, loss), eval_loss=(evaluated, level)))
    assert float(finding.numbers["gap_at_end"]) > 1.5
    follows = [3.0 * 0.985**s + 0.1 for s in evaluated]
    assert is_clear(generalisation_gap, history(loss=(steps, loss), eval_loss=(evaluated, follows)))


def test_what_was_known_is_lost() -> None:
    steps = list(range(1, 9))
    new = [3.0, 2.8, 2.6, 2.5, 2.4, 2.3, 2.25, 2.2]
    general = [3.0, 3.05, 3.1, 3.15, 3.2, 3.25, 3.3, 3.35]
    finding = found(forgetting, history(eval_loss=(steps, new), eval_general_loss=(steps, general)))
    # median of the last three is 3.3: 10% above 3.0
    assert np.isclose(float(finding.numbers["change_general"]), 0.1)
    both = history(eval_loss=(steps, new), eval_general_loss=(steps, new))
    assert is_clear(forgetting, both)
    assert "two evaluation sets" in lacks(forgetting, history(eval_loss=(steps, new)))
