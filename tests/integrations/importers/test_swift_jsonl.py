"""ms-swift's logging.jsonl."""

from pathlib import Path

from tests.integrations.importers.reading import names, points, read


def test_step_and_total_stand_in_one_text(tmp_path: Path) -> None:
    text = (
        '{"loss": 1.5, "grad_norm": 0.5, "global_step/max_steps": "1/40", "memory(GiB)": 20.5}\n'
        '{"loss": 1.25, "grad_norm": 0.25, "global_step/max_steps": "5/40", "memory(GiB)": 20.5}\n'
        '{"train_runtime": 99.0, "last_model_checkpoint": "x", "train_loss": 1.375}\n'
    )
    history = read(tmp_path, text)
    assert history.form == "ms-swift logging.jsonl"
    assert history.config == {"max_steps": 40}
    assert points(history, "loss") == [(1, 1.5), (5, 1.25)]
    assert names(history) == {"train/loss", "train/grad_norm"}
