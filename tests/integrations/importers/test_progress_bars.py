"""Progress bars as the only record."""

from pathlib import Path

from tests.integrations.importers.reading import points, read


def bar(step: int, loss: float, title: str = "train", total: int = 100) -> str:
    return f"\r{title}:  {step}%|##   | {step}/{total} [00:01<00:09, 1.00it/s, loss={loss}]"


def test_of_one_step_one_value(tmp_path: Path) -> None:
    history = read(tmp_path, "".join(bar(i, 3 - i / 100) for i in (10, 10, 20, 30)) + "\n")
    assert points(history, "loss") == [(10, 2.9), (20, 2.8), (30, 2.7)]
    assert history.config["max_steps"] == 100


def test_of_an_evaluation_the_last_repaint_before_training_goes_on(tmp_path: Path) -> None:
    text = bar(10, 2.9) + bar(1, 9.0, "eval", 2) + bar(2, 2.5, "eval", 2) + bar(20, 2.8) + bar(30, 2.7)
    assert points(read(tmp_path, text), "loss", "eval") == [(10, 2.5)]


def test_epochs_follow_each_other(tmp_path: Path) -> None:
    text = "".join(bar(i, 3 - i / 100, "Epoch 0") for i in (50, 100)) + bar(50, 1.5, "Epoch 1")
    assert points(read(tmp_path, text), "loss") == [(50, 2.5), (100, 2.0), (150, 1.5)]
