"""The landscape of learning rates in words, from numbers written down by hand."""

from pathlib import Path

import numpy as np
import xarray as xr

from ontogeny.report.landscape_answers import TargetAnswer, landscape_answers, rate_in_words
from ontogeny.report.page import write_report
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.store.writer import RunWriter
from tests.report import synthetic

RATES = np.array([1e-4, 1e-3, 1e-2])
NAN = float("nan")


def write(
    path: Path,
    *,
    general: bool,
    rates: tuple[float, ...],
    best: tuple[float, float] = (1e-3, 0.01),
    targets: tuple[float, ...] = (0.005, 0.02, 0.5, 0.9),
    at_targets: np.ndarray | None = None,
) -> Run:
    """One landscape at two states; `at_targets`: the loss of each batch at each target's rate, since it is kept."""
    batches = ["new", "general"] if general else ["new"]
    decrease = np.array([[0.001, 0.01, -0.1], [-0.001, -0.004, -0.3]])[: len(batches)]
    variables = {
        "decrease": synthetic.variable(("batch", "learning_rate"), decrease),
        "rate_for_target": synthetic.variable("target", np.array(rates)),
        "best_rate": synthetic.variable((), np.float64(best[0])),
        "best_decrease": synthetic.variable((), np.float64(best[1])),
        "loss": synthetic.variable(("batch", "learning_rate"), 4 * (1 - decrease)),
        "loss_before": synthetic.variable("batch", np.full(len(batches), 4.0)),
    }
    if at_targets is not None:
        variables["loss_at_target"] = synthetic.variable(("batch", "target"), at_targets)
    axes = {"batch": np.array(batches), "learning_rate": RATES, "target": np.array(targets)}
    data = xr.Dataset(variables, axes)
    with RunWriter.create(path, recipe_yaml="", recipe=synthetic.RECIPE, provenance=synthetic.PROVENANCE) as writer:
        for step in (0, 10):
            writer.put_measure("lr_landscape", synthetic.place(step), data.assign_attrs({"kind": "lr_landscape"}))
    return open_run(path)


def test_targets_rates_and_what_they_cost(tmp_path: Path) -> None:
    """10^-3.5 lies halfway, in the logarithm, between 1e-4 (general text +0.1%) and 1e-3 (+0.4%): +0.25%."""
    run = write(tmp_path / "run", general=True, rates=(10**-3.5, NAN, np.inf, 0.0))
    first, last = landscape_answers(RunGroup([run]))
    assert first.summary == (
        "Step 0: best 1.0e-3 (−1%); 2% out of reach; 50% not reached, still growing at the highest rate tried; "
        "90% not reached, still growing at the lowest rate tried."
    )
    assert last.summary.startswith("Step 10: ")
    assert first.rows[0] == TargetAnswer(target="0.5%", rate="3.2e-4", general="+0.25%")
    assert first.rows[1] == TargetAnswer(target="2%", rate="out of reach", general="–")
    page = write_report([run], live=True).read_text(encoding="utf-8")
    assert "best 1.0e-3 (−1%); 2% out of reach" in page
    assert "is no rate to train at" in page


def test_rates_beside_the_grid(tmp_path: Path) -> None:
    """Below the lowest rate the change shrinks in proportion: half of +0.1% at 5e-5. Above, nothing is recorded."""
    (first, _) = landscape_answers(RunGroup([write(tmp_path / "a", general=True, rates=(5e-5, 0.02, NAN, NAN))]))
    assert [row.general for row in first.rows] == ["+0.05%", "not recorded above 1.0e-2", "–", "–"]
    (first, _) = landscape_answers(RunGroup([write(tmp_path / "b", general=False, rates=(5e-5, NAN, NAN, NAN))]))
    assert not first.general
    assert first.rows[0].general == ""


def test_a_landscape_that_ends_where_it_is_best(tmp_path: Path) -> None:
    """Runs of earlier versions looked no further than their highest rate: then "out of reach" is not known."""
    run = write(tmp_path / "a", general=True, rates=(NAN, NAN, NAN, NAN), best=(1e-2, 0.002))
    (first, _) = landscape_answers(RunGroup([run]))
    assert first.rows[0].rate == "not reached, the highest rate is the best"
    run = write(tmp_path / "b", general=True, rates=(NAN, NAN, NAN, NAN), best=(1e-4, -0.002))
    assert landscape_answers(RunGroup([run]))[0].summary.startswith(
        "Step 0: no rate lowers the loss; 0.5% out of reach"
    )


def test_what_a_rate_costs_is_what_was_measured_there(tmp_path: Path) -> None:
    """General text from 4 to 4.2, 36, 4.00004 and 3.8: +5%, +800%, +0.001%, -5%, also above the grid's highest rate."""
    at_targets = np.array([[3.9] * 4, [4.2, 36.0, 4.00004, 3.8]])
    run = write(tmp_path / "run", general=True, rates=(10**-3.5, 0.05, 2e-4, 5e-5), at_targets=at_targets)
    assert [row.general for row in landscape_answers(RunGroup([run]))[0].rows] == ["+5%", "+800%", "+0.001%", "−5%"]


def test_a_best_rate_beyond_the_grid_was_looked_beyond(tmp_path: Path) -> None:
    """The decrease has fallen again above 0.05, or above the grid's highest rate itself: the target is out of reach."""
    nowhere = np.full((2, 4), NAN)
    for name, best, at_targets in (("a", 0.05, None), ("b", 0.05, nowhere), ("c", 1e-2, nowhere)):
        run = write(tmp_path / name, general=True, rates=(NAN,) * 4, best=(best, 0.002), at_targets=at_targets)
        assert {row.rate for row in landscape_answers(RunGroup([run]))[0].rows} == {"out of reach"}


def test_an_increase_that_no_rate_makes_is_no_growing_decrease(tmp_path: Path) -> None:
    run = write(tmp_path / "run", general=True, rates=(1e-3, np.inf), targets=(0.005, -0.01))
    (first, _) = landscape_answers(RunGroup([run]))
    assert first.summary == "Step 0: best 1.0e-3 (−1%); 1% more not reached at any rate tried."


def test_rates_are_short() -> None:
    assert [rate_in_words(rate) for rate in (0.003, 7.14e-4, 0.5, 12.0)] == ["3.0e-3", "7.1e-4", "5.0e-1", "1.2e1"]
