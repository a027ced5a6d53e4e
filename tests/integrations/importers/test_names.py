"""What the many names of a metric mean."""

import pytest

from ontogeny.integrations.importers._names import Meaning, understand


@pytest.mark.parametrize(
    ("label", "scope", "name"),
    [
        ("loss", "train", "loss"),
        ("train_loss", "train", "loss"),
        ("Training Loss", "train", "loss"),
        ("train/loss_step", "train", "loss"),
        ("lossf", "train", "loss"),
        ("eval_loss", "eval", "loss"),
        ("Validation Loss", "eval", "loss"),
        ("val_loss", "eval", "loss"),
        ("Loss/Validation", "eval", "loss"),
        ("eval_code_loss", "code", "loss"),
        ("ppl", "train", "perplexity"),
        ("valPerplexity", "eval", "perplexity"),
        ("lr", "train", "learning_rate"),
        ("optim/lr_pg_1", "train", "optim_lr_pg_1"),
        ("gnorm", "train", "grad_norm"),
        ("train/kd_loss", "train", "term/kd"),
        ("rewards/margins", "train", "rewards/margins"),
        ("eval_rewards/margins", "eval", "rewards/margins"),
        ("mean_token_accuracy", "train", "token_accuracy"),
        ("frac_reward_zero_std", "train", "zero_std_share"),
        ("something_new", "train", "something_new"),
    ],
)
def test_labels_of_many_trainers(label: str, scope: str, name: str) -> None:
    found = understand(label)
    assert found is not None
    assert (found.scope, found.name) == (scope, name)


@pytest.mark.parametrize(
    "label", ["step", "epoch", "eval_runtime", "train/global_step", "mfu", "dt", "elapsed_time", ""]
)
def test_what_counts_or_times_is_no_metric(label: str) -> None:
    assert understand(label) is None


def test_units() -> None:
    assert understand("bpb") == Meaning("train", "bits_per_byte", "bits")
    assert understand("eval_loss") == Meaning("eval", "loss", "nats")
    assert understand("accuracy") == Meaning("train", "accuracy", "")
