"""Printed logs that count epochs."""

from pathlib import Path

from tests.integrations.importers.reading import names, points, read


def test_blocks_under_an_epoch(tmp_path: Path) -> None:
    text = "".join(
        f"Epoch {i}/3\nTrain loss: {3 - i / 2}\nValidation loss: {3.5 - i / 2} | perplexity: {20 - i}.0\n"
        for i in (1, 2, 3)
    )
    history = read(tmp_path, text)
    assert history.segments[0].axis == "epoch"
    assert history.config["epochs"] == 3
    assert points(history, "loss") == [(1, 2.5), (2, 2.0), (3, 1.5)]
    assert points(history, "loss", "eval") == [(1, 3.0), (2, 2.5), (3, 2.0)]


def test_one_line_per_epoch(tmp_path: Path) -> None:
    text = "".join(f"[Epoch {i}] train_loss={3 - i / 2} val_loss={3.5 - i / 2}\n" for i in (1, 2, 3))
    history = read(tmp_path, text)
    assert points(history, "loss", "eval") == [(1, 3.0), (2, 2.5), (3, 2.0)]


def test_what_a_checkpoint_line_repeats_is_not_read(tmp_path: Path) -> None:
    text = "".join(f"Epoch {i}\nloss: {3 - i / 2}\nSaved best model with loss: 0.125\n" for i in (1, 2, 3))
    assert points(read(tmp_path, text), "loss") == [(1, 2.5), (2, 2.0), (3, 1.5)]


def test_running_means_in_bars_are_not_mixed_with_losses(tmp_path: Path) -> None:
    text = "".join(f"Epoch {i}\n 50%|███   | 5/10 [00:01<00:01, loss=9.5]\nloss: {3 - i / 2}\n" for i in (1, 2, 3))
    history = read(tmp_path, text)
    assert points(history, "loss") == [(1, 2.5), (2, 2.0), (3, 1.5)]
    assert names(history) == {"train/loss"}
    assert any("3 repaints" in note for note in history.notes)
