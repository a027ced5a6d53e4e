"""A tiny model with dropout, and two probe sets."""

from typing import Any

import pytest

from ontogeny.core.passages import ProbeSet
from tests.measures.small import make_model, random_probe


@pytest.fixture
def model() -> Any:
    return make_model()


@pytest.fixture
def probes() -> list[ProbeSet]:
    return [random_probe("train", [9, 40, 17, 2, 40, 1, 70]), random_probe("novel", [25, 8, 31, 12], seed=1)]
