"""Our own runs, read as any other log."""

from pathlib import Path

from ontogeny.integrations.importing import logs_under, read_history
from ontogeny.store.writer import RunWriter
from ontogeny.verbs.diagnose import diagnose_run
from tests.integrations.importers.reading import names, points

RECIPE = {
    "train": {"epochs": 2.0, "batch": 8, "accumulate": 2, "lr": {"shape": "cosine", "value": 0.003}, "clip": 1.0}
    | {"optimizer": {"kind": "sgd"}},
    "model": {"kind": "from_run"},
}


def write(path: Path, steps: int = 40) -> Path:
    """A training loss from 4 to 2; a held-out loss that falls to 3 at the middle and rises to 4."""
    with RunWriter.create(path, recipe_yaml="name: x\n", recipe=RECIPE, provenance={}) as writer:
        for step in range(steps + 1):
            writer.add_metric(step, "loss", "train", 4 - 2 * step / steps)
            writer.add_metric(step, "learning_rate", "train", 0.003)
            if step % 4 == 0:
                half = abs(step - steps / 2) / (steps / 2)
                writer.add_metric(step, "evaluation/nll", "novel", 3 + half)
                writer.add_metric(step, "evaluation/nll_se", "novel", 0.01)
                writer.add_metric(step, "evaluation/nll", "train", 4 - 2 * step / steps)
                writer.add_metric(step, "seconds", "timing", 1.0)
    return path


def test_scalars_and_recipe(tmp_path: Path) -> None:
    history = read_history(write(tmp_path / "run"))
    assert history.form == "Ontogeny run"
    assert names(history) == {"train/loss", "train/learning_rate", "train/evaluation/nll", "novel/loss"}
    assert points(history, "loss", "novel")[:2] == [(0, 4.0), (4, 3.8)]
    assert len(points(history, "loss")) == 41
    expected = {
        "epochs": 2.0,
        "batch_size": 8,
        "accumulation": 2,
        "learning_rate": 0.003,
        "schedule": "cosine",
        "max_grad_norm": 1.0,
        "clip_key": "train.clip",
        "optimizer": "sgd",
        "pretrained": True,
    }
    assert expected.items() <= history.config.items()


def test_what_a_hugging_face_trainer_clipped_at(tmp_path: Path) -> None:
    """The callback keeps the trainer's arguments: the threshold goes by the name that it has there."""
    arguments = {"max_grad_norm": 0.5, "optim": "adamw_torch"}
    with RunWriter.create(
        tmp_path / "hf", recipe_yaml="", recipe={"name": "hf"}, provenance={"training_arguments": arguments}
    ) as writer:
        writer.add_metric(0, "loss", "train", 4.0)
    config = read_history(tmp_path / "hf").config
    assert (config["max_grad_norm"], config["optimizer"]) == (0.5, "adamw_torch")
    assert "clip_key" not in config


def test_the_optimizer_of_a_trainer_is_the_one_that_it_steps(tmp_path: Path) -> None:
    """`Trainer(optimizers=(SGD, …))` leaves `args.optim` at its default, which no step follows."""
    provenance = {"training_arguments": {"max_grad_norm": 0.5, "optim": "adamw_torch"}, "optimizer": "SGD"}
    with RunWriter.create(tmp_path / "hf", recipe_yaml="", recipe={"name": "hf"}, provenance=provenance) as writer:
        writer.add_metric(0, "loss", "train", 4.0)
    assert read_history(tmp_path / "hf").config["optimizer"] == "SGD"


def test_a_run_is_one_log_among_others(tmp_path: Path) -> None:
    run = write(tmp_path / "runs" / "a")
    (tmp_path / "runs" / "b.csv").write_text("step,loss\n1,2\n")
    assert list(logs_under(tmp_path / "runs")) == [run, tmp_path / "runs" / "b.csv"]


def test_verdicts_are_kept_in_the_run(tmp_path: Path) -> None:
    from ontogeny.store.run import open_run

    run = write(tmp_path / "run")
    diagnose_run(run)
    found = [one for one in open_run(run).findings if one["verdict"] == "finding"]
    assert [one["rule"] for one in found] == ["overfitting"]
    assert found[0]["evidence"][0]["label"] == "novel evaluation/nll"
