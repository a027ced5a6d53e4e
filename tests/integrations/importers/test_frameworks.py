"""Every framework's lines are read, each as it prints them."""

from pathlib import Path

import pytest

from tests.integrations.importers.frameworks import FRAMEWORKS, OF_EPOCHS, OF_REWARDS, RUN
from tests.integrations.importers.reading import points, read


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_training_loss_by_step(framework: str, tmp_path: Path) -> None:
    history = read(tmp_path, FRAMEWORKS[framework])
    assert len(history.segments) == 1
    assert points(history, "loss") == RUN


@pytest.mark.parametrize("framework", OF_EPOCHS)
def test_the_training_loss_by_epoch(framework: str, tmp_path: Path) -> None:
    history = read(tmp_path, OF_EPOCHS[framework])
    assert history.segments[0].axis == "epoch"
    assert points(history, "loss") == [(1, 4.5), (2, 4.25), (3, 4.0)]


@pytest.mark.parametrize("framework", OF_REWARDS)
def test_the_reward_by_step(framework: str, tmp_path: Path) -> None:
    assert points(read(tmp_path, OF_REWARDS[framework]), "reward") == RUN
