"""The recipes for large machines cannot break unnoticed: each is planned, and (slow) run for two steps.

Nothing is downloaded. In the place of a base model stands one with random weights, of the same class, mapped by its hub
id: a recipe that names another id fails here until it is mapped. Layers and heads are the true ones in the slow test,
two and two in the default one; the width is cut in both, to 64 and 16, and the vocabulary to 300. Texts are made of
random words, and passages are few; lengths, batches, controls and measures are the recipes' own. The harness's tasks
(`lm_eval`) have tests of their own and are not run.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.origin import Origin
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe, shipped_recipes
from ontogeny.data.corpora.hub import Hub
from ontogeny.models.sources.pretrained import Pretrained
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.verbs.plan import plan_run
from tests.small_runs import WORDS

FULL = [name for name in shipped_recipes() if "/full/" in name]
PLANNED = ("memorization/full/example",)
"""Planned in the default suite; the others are planned with `-m slow`."""
GPT2 = {"n_positions": 1024, "n_layer": 12, "n_head": 12}
PYTHIA = {"max_position_embeddings": 2048, "num_hidden_layers": 6, "num_attention_heads": 8, "rotary_pct": 0.25}
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2),
    "EleutherAI/pythia-70m": ("gpt_neox", PYTHIA),
    "EleutherAI/pythia-70m-deduped": ("gpt_neox", PYTHIA),
}
"""By hub id: class and settings of the published configuration, without width and vocabulary."""
DATASETS = ("Salesforce/wikitext", "NeelNanda/pile-10k")


def stand_in(base: str, folder: Path, *, width: int, true_layers: bool) -> Path:
    """A model with random weights and a tokenizer, saved as a hub would give them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from ontogeny.data.tokenizer import train_tokenizer

    family, settings = BASES[base]
    tokenizer = train_tokenizer([" ".join(WORDS)] * 4, 300)
    config = AutoConfig.for_model(family, **settings)
    config.update({"vocab_size": len(tokenizer), "hidden_size": width * config.num_attention_heads // 8})
    if not true_layers:
        config.update({"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": width})
    if family == "gpt_neox":
        config.update({"intermediate_size": 4 * config.hidden_size})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(count: int, words: int, seed: int) -> list[dict[str, str]]:
    generator = np.random.default_rng(seed)
    return [{"text": " ".join(generator.choice(WORDS, words)) + ".\n"} for _ in range(count)]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Local stand-ins for all that a full recipe would download."""
    generator = np.random.default_rng(9)
    with (tmp_path / "dialogue.jsonl").open("w", encoding="utf-8") as file:
        for turn in range(24 * 12):
            line = {"speaker": f"S{turn % 3}", "text": " ".join(generator.choice(WORDS, 60)), "episode": turn // 12}
            file.write(json.dumps(line) + "\n")
    monkeypatch.chdir(tmp_path)

    def load_dataset(name: str, *arguments: Any, **settings: Any) -> Any:
        assert name in DATASETS, f"a stand-in for the data set {name} is missing"
        return rows(24, 900, seed=DATASETS.index(name))

    import datasets

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    def install(*, width: int, true_layers: bool) -> None:
        def origin(self: Pretrained, resolve_run: object) -> Origin:
            assert self.path in BASES, f"a stand-in for the model {self.path} is missing"
            folder = tmp_path / self.path.replace("/", "-")
            if not folder.exists():
                stand_in(self.path, folder, width=width, true_layers=true_layers)
            return Origin(path=str(folder))

        monkeypatch.setattr(Pretrained, "origin", origin)

    return install


def few_passages(name: str, *more: str) -> Recipe:
    """The recipe with few passages, and without the harness's tasks."""
    recipe = load_recipe(name)
    content = recipe.as_json()
    taken = [{**{key: of for key, of in take.items() if of is not None}} for take in content["data"]["train"]]
    for take in taken:
        take.pop("count", None)
        take["at_most"] = 8
    overrides = [f"data.train={json.dumps(taken)}"]
    for probe in content["data"]["probes"]:
        overrides += [f"data.probes.{probe}.count=null", f"data.probes.{probe}.at_most=2"]
    for group in content["data"]["replay"]:
        overrides += [f"data.replay.{group}.count=null", f"data.replay.{group}.at_most=8"]
    measures = [
        {key: of for key, of in measure.items() if of is not None}
        for measure in content["measures"]
        if measure["kind"] != "lm_eval"
    ]
    return load_recipe(name, (*overrides, f"measures={json.dumps(measures)}", *more))


def test_there_are_full_recipes_of_both_parts() -> None:
    assert {name.split("/")[0] for name in FULL} == {"memorization", "forgetting"}
    assert len(FULL) >= 13


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in PLANNED else [pytest.mark.slow]) for n in FULL])
def test_planned(name: str, offline: Callable[..., None], tmp_path: Path) -> None:
    offline(width=16, true_layers=False)
    plan = plan_run(few_passages(name), tmp_path / "runs")
    assert plan["steps"] > 0
    assert plan["parameters"] > 5_000
    assert plan["time"]
    assert "checkpoints of" in plan["disk"]


@pytest.mark.parametrize("name", FULL)
def test_every_one_is_valid_and_starts_from_a_known_base(name: str) -> None:
    recipe = few_passages(name)
    assert isinstance(recipe.model, Pretrained)
    assert recipe.model.path in BASES
    assert {corpus.name for corpus in recipe.data.corpora.values() if isinstance(corpus, Hub)} <= set(DATASETS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_two_steps(name: str, offline: Callable[..., None], tmp_path: Path) -> None:
    offline(width=64, true_layers=True)
    recipe = few_passages(name, "train.epochs=null", "train.steps=2", "checkpoints={steps: [0, 2]}")
    run = open_run(execute(recipe, runs_dir=tmp_path / "runs"))
    assert run.status["state"] == "finished"
    losses = run.metrics[(run.metrics["scope"] == "train") & (run.metrics["name"] == "loss")]["value"]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert set(run.measures) == {measure.group for measure in recipe.measures}
