"""`ontogeny compare`."""

import json
from pathlib import Path

import numpy as np

from tests.verbs.conftest import Call
from tests.verbs.logs import trainer_state


def log(path: Path, values: np.ndarray) -> Path:
    path.write_text("".join(json.dumps({"step": i, "loss": float(v)}) + "\n" for i, v in enumerate(values)))
    return path


def test_equal_logs_are_said_to_be_equal(ontogeny: Call, tmp_path: Path) -> None:
    out = ontogeny("compare", trainer_state(tmp_path / "a"), trainer_state(tmp_path / "b")).out
    assert out.count("equal in every bit") == 4  # loss, learning rate, gradient norm, evaluation loss


def test_where_two_logs_part(ontogeny: Call, tmp_path: Path) -> None:
    """Noise of 0.02; from step 300 of 500 on, the second stands 0.5 higher."""
    random = np.random.default_rng(0)
    level = 3 - np.linspace(0, 1, 500)
    one = log(tmp_path / "a", level + random.normal(0, 0.02, 500))
    other = log(tmp_path / "b", level + random.normal(0, 0.02, 500) + 0.5 * (np.arange(500) >= 300))
    (found,) = ontogeny("compare", one, other, "--json").json()["series"]
    assert 290 <= found["parted_at"] <= 310
    assert found["final"]["low"] < 0.5 < found["final"]["high"]


def test_logs_without_a_series_in_common_are_one_line(ontogeny: Call, tmp_path: Path) -> None:
    one = log(tmp_path / "a", np.arange(5.0))
    other = tmp_path / "b"
    other.write_text('{"step": 1, "reward": 1}\n{"step": 2, "reward": 2}\n')
    called = ontogeny("compare", one, other)
    assert called.code == 2
    assert "share no series" in called.err


def test_configuration_that_differs_is_named(ontogeny: Call, tmp_path: Path) -> None:
    one, other = trainer_state(tmp_path / "a"), trainer_state(tmp_path / "b", steps=500)
    assert "max_steps: 1000 in A, 500 in B" in ontogeny("compare", one, other).out
