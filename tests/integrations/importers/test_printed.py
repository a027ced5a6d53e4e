"""Printed logs: a step in every line, blocks of lines, epochs."""

from pathlib import Path

import pytest

from tests.integrations.importers.reading import names, points, read

DIALECTS = {
    "nanoGPT": "step 0: train loss 4.5, val loss 4.6\niter 0: loss 4.5, time 1.0ms, mfu 10.0%\n"
    "iter 10: loss 4.25, time 1.0ms, mfu 10.0%\niter 20: loss 4.0, time 1.0ms, mfu 10.0%\n",
    "llm.c": "s:1 trl:4.5 lr:1e-4\ns:10 trl:4.25 lr:1e-4\ns:20 trl:4.0 lr:1e-4\n",
    "torchtitan": "[rank0]:2026-01-01 10:00:00 - root - INFO - step:  1  loss:  4.5  grad_norm:  1.0\n"
    "[rank0]:2026-01-01 10:00:01 - root - INFO - step: 10  loss:  4.25  grad_norm:  1.0\n"
    "[rank0]:2026-01-01 10:00:02 - root - INFO - step: 20  loss:  4.0  grad_norm:  1.0\n",
    "torchtune": "Step 1 | loss:4.5 lr:0.0001 tokens_per_second_per_gpu:100.5\n"
    "Step 10 | loss:4.25 lr:0.0001 tokens_per_second_per_gpu:100.5\n"
    "Step 20 | loss:4.0 lr:0.0001 tokens_per_second_per_gpu:100.5\n",
    "modded-nanogpt": "step:1/20 train_loss:4.5000 train_time:1ms\nstep:10/20 train_loss:4.2500 train_time:1ms\n"
    "step:20/20 train_loss:4.0000 train_time:1ms\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_are_recognised_and_read_alike(dialect: str, tmp_path: Path) -> None:
    history = read(tmp_path, DIALECTS[dialect])
    assert history.form == f"printed log ({dialect})"
    assert [value for _, value in points(history, "loss")] == [4.5, 4.25, 4.0]
    assert points(history, "loss")[-1][0] == 20


def test_an_evaluation_without_a_step_belongs_to_the_step_before_it(tmp_path: Path) -> None:
    history = read(tmp_path, "step 10 | loss: 3.0\nval loss: 3.5\nstep 20 | loss: 2.0\nval loss: 2.5\n")
    assert points(history, "loss", "eval") == [(10, 3.5), (20, 2.5)]


def test_an_evaluation_said_again_when_the_best_is_saved_is_not_read_twice(tmp_path: Path) -> None:
    history = read(
        tmp_path, "step 10 | loss: 3.0\nval loss: 3.5\nval loss: 3.5 is the best: saved\nstep 20 | loss: 2.0\n"
    )
    assert points(history, "loss", "eval") == [(10, 3.5)]


def test_bits_per_character_keep_their_unit(tmp_path: Path) -> None:
    history = read(tmp_path, "iter 1: loss 2.5 BPC\niter 2: loss 2.0 BPC\niter 3: loss 1.5 BPC\n")
    loss = history.segments[0].get("loss")
    assert loss is not None
    assert loss.unit == "bits"


def test_total_and_settings_are_learnt(tmp_path: Path) -> None:
    history = read(tmp_path, "vocab_size: 50,304\nstep 1/500 | loss: 3.0\nstep 2/500 | loss: 2.0\n")
    assert history.config == {"vocabulary_size": 50304, "max_steps": 500}


def test_prose_with_numbers_is_no_log(tmp_path: Path) -> None:
    from ontogeny.integrations.importers._source import NotReadableError

    with pytest.raises(NotReadableError, match="its format is not recognised"):
        read(tmp_path, "In 1999 the party went to 3 towns.\nStep inside, said the innkeeper to all 4.\n" * 20)


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


def test_steps_that_begin_anew_with_each_epoch_continue(tmp_path: Path) -> None:
    """3 batches per epoch, counted from 0: the first of epoch 2 is the fourth."""
    text = "".join(f"Epoch {e}, Step {s}, Loss: {4 - e - s / 10:.4f}\n" for e in (1, 2) for s in (0, 1, 2))
    assert [step for step, _ in points(read(tmp_path, text), "loss")] == [0, 1, 2, 3, 4, 5]


def test_nan_is_a_value_and_a_word_is_not(tmp_path: Path) -> None:
    text = "".join(f"iteration {s}/ 100 | grad norm: nan | number of nan iterations:   {s} |\n" for s in (1, 2, 3))
    history = read(tmp_path, text + "iteration 4/ 100 | lm loss: 2.5E+00 |\n")
    assert [value for _, value in points(history, "nan_iterations")] == [1, 2, 3]
    norm = history.segments[0].get("grad_norm")
    assert norm is not None
    assert not norm.finite.any()


def test_source_code_in_a_log_gives_no_entries(tmp_path: Path) -> None:
    code = "step = 5\nfor step in range(1, 10): # loss 3\nif step % 100 == 0:\n    val_loss += 1.0\n"
    history = read(tmp_path, code + "".join(f"step:{s}/9 train_loss:{4 - s / 10:.4f}\n" for s in range(9)))
    assert names(history) == {"train/loss"}
    assert len(history.segments) == 1


def test_a_training_loss_without_a_step_is_a_mean_where_lines_have_steps(tmp_path: Path) -> None:
    text = "step 10 | loss: 3.0\nstep 20 | loss: 2.5\nEpoch mean loss: 2.75\nstep 30 | loss: 2.0\n"
    assert points(read(tmp_path, text), "loss") == [(10, 3.0), (20, 2.5), (30, 2.0)]


def test_the_end_of_a_log_is_kept(tmp_path: Path) -> None:
    text = (
        "step 1 | loss: 3.0\nstep 2 | loss: 2.0\n[rank3]: RuntimeError: CUDA out of memory. Tried to allocate 2 GiB\n"
    )
    assert read(tmp_path, text).config["errors"] == [(3, "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB")]
    killed = "step 1 | loss: 3.0\nstep 2 | loss: 2.0\nslurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n"
    assert read(tmp_path, killed).config["errors"][0][0] == 3


def test_what_is_not_read_names_the_line_that_came_nearest(tmp_path: Path) -> None:
    from ontogeny.integrations.importers._source import NotReadableError

    with pytest.raises(
        NotReadableError, match=r"line 2 came nearest \('wombats at step 7'\): it has a step, but no metric"
    ):
        read(tmp_path, "nothing here\nwombats at step 7\n")


def test_a_dictionary_wrapped_over_lines_is_one_entry(tmp_path: Path) -> None:
    """The terminal cuts after 30 characters, within a number."""
    entry = "{'loss': 0.4173, 'learning_rate': 4.765488e-06, 'epoch': 0.08}"
    wrapped = "\n".join(entry[i : i + 30] for i in range(0, len(entry), 30))
    assert points(read(tmp_path, f"{wrapped}\n" * 2), "learning_rate") == [(1, 4.765488e-06), (2, 4.765488e-06)]


def test_two_trainings_in_one_log_are_two_segments(tmp_path: Path) -> None:
    line = "{{'loss': {loss}, 'learning_rate': 1e-05, 'epoch': {epoch}}}\n"
    run = "".join(line.format(loss=3 - e, epoch=e / 2) for e in (1, 2, 3))
    history = read(tmp_path, run + "{'train_runtime': 9.5, 'train_loss': 1.5, 'epoch': 1.5}\n" + run)
    assert [segment.beginning for segment in history.segments] == ["first", "restart"]
    assert history.segments[1].reason == "the epoch falls to 0.5 at line 5: another run"
    assert len(read(tmp_path, run).segments) == 1
