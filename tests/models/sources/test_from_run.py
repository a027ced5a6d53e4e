"""Checkpoints of earlier runs as sources of models: found by what shaped their weights, trained first if missing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ontogeny.core.errors import RecipeError, StoreError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import dump_recipe, load_recipe, validate
from ontogeny.models.build import load_checkpoint
from ontogeny.models.weights import effective_weights
from ontogeny.runs.execute import execute, resume
from ontogeny.runs.parents import find_finished_run
from ontogeny.store.parents import parents_folder
from ontogeny.store.run import open_run
from ontogeny.store.writer import RunWriter
from ontogeny.train.training import StageEvent
from tests.small_runs import tree, write_text


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A recipe file of a parent."""
    texts = write_text(tmp_path / "words")
    path = tmp_path / "parent.yaml"
    path.write_text(dump_recipe(validate(tree(texts, name="parent", measures=[]), "test")))
    return path


def child(parent: Path, **model: Any) -> Recipe:
    content = tree(parent.parent / "words", name="child", measures=["evaluation"])
    content["model"] = {"kind": "from_run", **({"recipe": str(parent)} | model)}
    content["train"] = {"steps": 3, "batch": 6, "lr": 0.0}
    del content["tokenizer"]
    return validate(content, "test")


def test_a_missing_parent_is_trained_first_and_then_reused(parent: Path, tmp_path: Path) -> None:
    said: list[str] = []
    runs = tmp_path / "runs"
    path = execute(child(parent), runs_dir=runs, listen=lambda event: said.append(getattr(event, "text", "")))
    assert any("parent, which is trained first" in text for text in said)
    before = open_run(find_finished_run(runs, load_recipe(parent).train_hash) or "")
    run = open_run(path)
    # the child's rate is 0, so it still has the parent's last weights
    assert run.checkpoints[-1].place.weights_sha256 == before.checkpoints[-1].place.weights_sha256
    assert run.provenance["model"]["parent"]["step"] == 12
    said.clear()
    other = child(parent, step=4)
    again = open_run(execute(other, runs_dir=runs, listen=lambda event: said.append(getattr(event, "text", ""))))
    assert not any("trained first" in text for text in said)
    assert again.checkpoints[0].place.weights_sha256 == before.checkpoints[1].place.weights_sha256


def test_a_run_made_elsewhere_is_resumed_with_the_parent_from_where_it_was(parent: Path, tmp_path: Path) -> None:
    """`--to`: the run does not lie beside its parents. Nothing is trained again, and the run may be moved with them."""
    runs, path = tmp_path / "all" / "runs", tmp_path / "all" / "elsewhere" / "mine"
    execute(load_recipe(parent), runs_dir=runs)

    def interrupt(event: object) -> None:
        if isinstance(event, StageEvent) and event.text == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(child(parent), runs_dir=runs, to=path, listen=interrupt)
    assert not open_run(path).checkpoints
    assert open_run(path).provenance["parents_folder"] == "../../runs"
    (tmp_path / "all").rename(tmp_path / "moved")
    runs, path = tmp_path / "moved" / "runs", tmp_path / "moved" / "elsewhere" / "mine"
    said: list[str] = []
    resume(path, listen=lambda event: said.append(getattr(event, "text", "")))
    assert not any("trained first" in text for text in said)
    assert [folder.name for folder in path.parent.iterdir()] == ["mine"]
    assert open_run(path).status["state"] == "finished"


def test_a_run_beside_its_parents_notes_nothing(parent: Path, tmp_path: Path) -> None:
    run = open_run(execute(load_recipe(parent), runs_dir=tmp_path / "runs"))
    assert "parents_folder" not in run.provenance
    assert parents_folder(run) == tmp_path / "runs"
    with RunWriter.attach(run.path) as writer:
        writer.update_provenance(parents_folder="../../gone")
    assert parents_folder(run) == tmp_path / "runs"


def test_the_parents_content_is_part_of_the_hash_and_its_name_is_not(parent: Path) -> None:
    first = child(parent)
    renamed = parent.with_name("renamed.yaml")
    renamed.write_text(parent.read_text().replace("name: parent", "name: renamed"))
    assert child(renamed).train_hash == first.train_hash
    changed = parent.with_name("changed.yaml")
    changed.write_text(parent.read_text().replace("epochs: 3", "epochs: 4"))
    assert changed.read_text() != parent.read_text()
    assert child(changed).train_hash != first.train_hash


def test_a_step_that_was_not_saved_is_refused_with_those_that_were(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no checkpoint at step 5; there are \[0, 4, 8, 12\]"):
        execute(child(parent, step=5), runs_dir=tmp_path / "runs")


def test_a_recipe_that_comes_from_itself_is_refused_with_the_cycle(parent: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    for path, other in ((first, second), (second, first)):
        path.write_text(dump_recipe(child(parent)).replace(str(parent), str(other)))
    with pytest.raises(RecipeError, match=rf"^model: {first} from {second} from {first}: a model cannot come from"):
        load_recipe(second).train_hash  # noqa: B018
    first.write_text(dump_recipe(child(parent)))
    assert load_recipe(second).train_hash


def test_either_a_recipe_or_a_run(parent: Path) -> None:
    with pytest.raises(RecipeError, match="either recipe or run"):
        child(parent, run="runs/x")


def test_lora_trains_adapters_only_and_drift_is_of_the_merged_weights(parent: Path, tmp_path: Path) -> None:
    content = tree(parent.parent / "words", name="lora", measures=["weight_drift", "evaluation"])
    content["model"] = {"kind": "from_run", "recipe": str(parent)}
    content["train"] = {"steps": 4, "batch": 6, "lr": 0.05, "lora": {"rank": 2}}
    content["checkpoints"] = {"every_steps": 2}
    del content["tokenizer"]
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
    assert run.provenance["model"]["trainable_parameters"] < run.provenance["model"]["parameters"] / 2
    first, last = (
        effective_weights(load_checkpoint(c.model_path, run.path / "base"))
        for c in (run.checkpoints[0], run.checkpoints[-1])
    )
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert moved
    assert not [name for name in moved if "embed" in name or "norm" in name]
    total = sum(float((last[name] - first[name]).double().abs().sum()) for name in first)
    mad = total / sum(tensor.numel() for tensor in first.values())
    drift = run.measure("weight_drift")["mad_first"].values[-1]
    assert drift == pytest.approx(mad, rel=1e-6)
    assert drift > 0
