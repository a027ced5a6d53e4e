"""What Trainer prints."""

from pathlib import Path

from tests.integrations.importers.reading import names, points, read

PRINTED = (
    "  0%|          | 0/100 [00:00<?, ?it/s]\r 10%|█         | 10/100 [00:05<00:45]\n"
    "{'loss': 2.5, 'grad_norm': 1.5, 'learning_rate': 9e-05, 'epoch': 0.5}\n"
    " 20%|██        | 20/100 [00:10<00:40]{'loss': '2.25', 'learning_rate': '8e-05', 'epoch': '1.0'}\n"
    "{'eval_loss': 2.4, 'eval_runtime': 1.0, 'eval_samples_per_second': 8.0, 'epoch': 1.0}\n"
    "{'train_runtime': 12.0, 'train_loss': 2.375, 'epoch': 1.0}\n"
)


def test_dictionaries_behind_repaints_with_the_bars_steps(tmp_path: Path) -> None:
    history = read(tmp_path, PRINTED)
    assert history.form == "Hugging Face Trainer, printed"
    assert points(history, "loss") == [(10, 2.5), (20, 2.25)]
    assert points(history, "learning_rate") == [(10, 9e-05), (20, 8e-05)]
    assert points(history, "loss", "eval") == [(20, 2.4)]
    assert history.config["max_steps"] == 100
    assert history.config["final_train_loss"] == 2.375


def test_steps_follow_from_the_epoch_where_the_log_says_how_many_there_are(tmp_path: Path) -> None:
    """3 epochs in 300 steps: epoch 0.5 is step 50, epoch 2.0 is step 200."""
    text = (
        "***** Running training *****\n  Num examples = 1,600\n  Num Epochs = 3\n"
        "  Instantaneous batch size per device = 8\n  Gradient Accumulation steps = 2\n"
        "  Total optimization steps = 300\n"
        "{'loss': 2.5, 'epoch': 0.5}\n{'loss': 2.0, 'epoch': 2.0}\n"
    )
    history = read(tmp_path, text)
    assert points(history, "loss") == [(50, 2.5), (200, 2.0)]
    expected = {"max_steps": 300, "epochs": 3, "batch_size": 8, "accumulation": 2, "train_examples": 1600}
    assert expected.items() <= history.config.items()


def test_entries_are_counted_where_the_bars_say_nothing(tmp_path: Path) -> None:
    """Two streams in one file: all bars stand before all logs, so every log would stand at the last bar's step."""
    history = read(
        tmp_path, "50%|█ | 50/50 [00:01<00:00]\n" + "{'loss': 2.0, 'epoch': 0.25}\n{'loss': 1.0, 'epoch': 0.5}\n"
    )
    assert history.segments[0].axis == "entry"
    assert points(history, "loss") == [(1, 2.0), (2, 1.0)]


def test_text_between_logs_is_not_read_for_metrics(tmp_path: Path) -> None:
    history = read(tmp_path, PRINTED + "The loss: 99.0 of a {'word': 3} is a dictionary of another kind\n")
    assert names(history) == {"train/loss", "train/grad_norm", "train/learning_rate", "eval/loss"}
    assert max(value for _, value in points(history, "loss")) == 2.5


def test_nothing_in_a_dictionary_is_executed(tmp_path: Path) -> None:
    """Were it evaluated, the file would be created."""
    made = tmp_path / "made"
    line = f"{{'loss': open('{made}', 'w'), 'epoch': 1.0}}\n"
    read(tmp_path, PRINTED + line)
    assert not made.exists()
