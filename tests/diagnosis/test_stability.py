"""Rules of the family `stability`, on curves written down by hand."""

import numpy as np

from ontogeny.diagnosis.rules.stability import divergence, loss_spike, training_loss_rises, unrecovered_spike
from tests.diagnosis.curves import found, history, is_clear, lacks

STEPS = np.arange(1, 301)
NOISE = 0.02 * np.array([-1, 0.4, 1, -0.6, 0.2] * 60)
"""Noise with a known pattern: no draw of it can be unlucky."""


def of(values: np.ndarray) -> tuple[list[int], list[float]]:
    return STEPS[: len(values)].tolist(), values.tolist()


FALLING = 2 + 2 / np.sqrt(STEPS) + NOISE


def test_a_spike_that_heals() -> None:
    values = FALLING.copy()
    values[149:153] += [3.0, 2.5, 1.5, 1.0]  # steps 150 to 153, at a level of 2.16: more than doubled
    finding = found(loss_spike, history(loss=of(values)))
    assert finding.severity == "warning"
    assert finding.numbers["at_step"] == 150
    assert finding.numbers["spikes"] == 1
    assert is_clear(unrecovered_spike, history(loss=of(values)))


def test_a_lesser_spike_is_a_note_and_noise_none() -> None:
    values = FALLING.copy()
    values[149:152] += 0.8
    assert found(loss_spike, history(loss=of(values))).severity == "note"
    assert is_clear(loss_spike, history(loss=of(FALLING)))
    assert "100 or more" in lacks(loss_spike, history(loss=of(FALLING[:50])))


def test_heavy_tailed_single_batches_are_no_spikes() -> None:
    values = FALLING.copy()
    values[60::9] += 0.9  # one entry in nine stands out: it is the run's own tail
    assert is_clear(loss_spike, history(loss=of(values)))


def test_a_spike_that_leaves_the_loss_higher() -> None:
    values = FALLING.copy()
    values[149:153] += 3.0
    values[153:] += 0.6  # 2.16 before, 2.7 after
    finding = found(unrecovered_spike, history(loss=of(values)))
    assert finding.severity == "error"
    assert 0.4 < float(finding.numbers["after"]) - float(finding.numbers["before"]) < 0.65


def test_divergence_and_an_ordinary_fall() -> None:
    values = FALLING.copy()
    values[150:] += np.linspace(0, 4, 150)
    assert found(divergence, history(loss=of(values))).severity == "error"
    assert is_clear(divergence, history(loss=of(FALLING)))


def test_ten_entries_suffice_where_the_rise_is_plain() -> None:
    # of a ten-step check: the last three have the median 20.5, the first entry is 12.5
    loss = [12.5, 10.7, 14.7, 20.0, 26.0, 23.0, 21.0, 20.9, 20.0, 20.5]
    assert found(divergence, history(loss=(list(range(1, 11)), loss))).certainty == "possible"
    wobbling = [12.5, 10.7, 9.0, 8.0, 5.4, 6.5, 7.0, 6.9, 7.2, 7.5]
    assert is_clear(divergence, history(loss=(list(range(1, 11)), wobbling)))


def test_a_training_loss_that_rises_slowly() -> None:
    # from 2.0 to 2.2 over 300 entries: the quarters' means differ by 0.15
    values = 2 + 0.2 * STEPS / 300 + NOISE
    finding = found(training_loss_rises, history(loss=of(values)))
    assert np.isclose(float(finding.numbers["change"]), 0.15, atol=0.01)
    assert is_clear(training_loss_rises, history(loss=of(2 + NOISE)))
    assert is_clear(training_loss_rises, history(loss=of(FALLING)))
