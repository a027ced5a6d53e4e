"""all_results.json."""

from pathlib import Path

from tests.integrations.importers.reading import read


def test_a_summary_is_no_curve_and_says_what_is(tmp_path: Path) -> None:
    history = read(tmp_path, '{"epoch": 3.0, "train_loss": 1.25, "train_runtime": 99.5, "eval_loss": 1.5}')
    assert not history.segments
    assert "summary" in history.nothing
    assert "trainer_state.json" in history.nothing
