"""Updates lost to rounding are reported where they are many, and only there."""

import pytest

from ontogeny.report.rounding import rounded_away
from ontogeny.report.sentences import sentences
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.store.writer import RunWriter
from tests.report.hand_made import MakeRun
from tests.report.test_sentences import TRAIN


def _with(run: Run, *stuck: float) -> Run:
    with RunWriter.attach(run.path) as writer:
        for i, share in enumerate(stuck):
            writer.add_metric(10 * i, "rounding/stuck", "model", share)
            writer.add_metric(10 * i, "rounding/learning_rate", "model", 1e-10 * (i + 1))
        writer.flush()
    return open_run(run.path)


def test_the_largest_loss_is_reported(make_run: MakeRun) -> None:
    (band,) = RunGroup([_with(make_run({"train": TRAIN}), 0.5, 0.987)]).bands
    assert rounded_away(band) == (
        "Rounding cancels 99% of the weight updates at step 10, at a learning rate of 2e-10: train.weights: float64 "
        "would keep them."
    )
    assert sentences(band)[0].text.endswith("float64 would keep them.")


@pytest.mark.parametrize("stuck", [(), (0.0, 0.09), (float("nan"),)])
def test_few_are_not_reported(make_run: MakeRun, stuck: tuple[float, ...]) -> None:
    """Not recorded, few, and a learning rate of 0, where nothing would move."""
    (band,) = RunGroup([_with(make_run({"train": TRAIN}), *stuck)]).bands
    assert rounded_away(band) == ""
    assert sentences(band)[0].text.endswith("nats per token.")
