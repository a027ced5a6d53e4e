"""`ontogeny series`: what was found, and how each was understood."""

from pathlib import Path

from tests.verbs.conftest import Call
from tests.verbs.logs import trainer_state


def test_series_in_words(ontogeny: Call, tmp_path: Path) -> None:
    out = ontogeny("series", trainer_state(tmp_path / "log")).out
    assert "Hugging Face trainer_state.json" in out
    assert "language modeling" in out
    assert "eval/loss [nats]" in out
    assert "10–1000" in out
    assert "4 decimals" in out
    assert "max_steps: 1000" in out


def test_series_as_json(ontogeny: Call, tmp_path: Path) -> None:
    found = ontogeny("series", trainer_state(tmp_path / "log"), "--json").json()
    (segment,) = found["segments"]
    assert {one["name"]: one["points"] for one in segment["series"] if one["scope"] == "train"} == {
        "loss": 100,
        "learning_rate": 100,
        "grad_norm": 100,
    }


def test_what_is_no_curve(ontogeny: Call, tmp_path: Path) -> None:
    path = tmp_path / "all_results.json"
    path.write_text('{"epoch": 3.0, "eval_loss": 1.5}')
    called = ontogeny("series", path)
    assert called.code == 0
    assert "summary" in called.out
