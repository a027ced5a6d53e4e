import pytest

from ontogeny.core.measures import StateMeasure, StreamMeasure
from ontogeny.core.progress import Progress


@pytest.mark.parametrize(
    ("step", "total", "share"), [(0, 10, 0.0), (3, 12, 0.25), (10, 10, 1.0), (11, 10, 1.0), (0, 0, 0.0)]
)
def test_share_of_training(step: int, total: int, share: float) -> None:
    assert Progress(step=step, total_steps=total, epoch=0.0).share == share


def test_a_measure_must_look() -> None:
    for base in (StreamMeasure, StateMeasure):
        assert "look" in base.__abstractmethods__
