"""A run says what stands before its texts, keeps it when it goes on, and hands it to runs that start from it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.report.origin import facts, provenance_groups
from ontogeny.runs.execute import execute
from ontogeny.runs.reopen import prepare_again
from ontogeny.store.run import open_run
from ontogeny.store.run_group import RunGroup
from tests.bos import with_bos
from tests.small_runs import WORDS, tree


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama whose tokenizer adds <s>."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from ontogeny.data.tokenizer import train_tokenizer

    tokenizer = with_bos(train_tokenizer([" ".join(WORDS)] * 4, 300))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=48,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small(texts: Path, model: dict[str, Any], **data: Any) -> Recipe:
    content = tree(texts, model=model, measures=["evaluation"], checkpoints={"steps": [1]})
    content |= {"tokenizer": {}, "train": {"steps": 1, "batch": 2}, "data": content["data"] | data}
    return validate(content, "test")


def test_recorded_kept_and_handed_on(pretrained: Path, texts: Path, tmp_path: Path) -> None:
    recipe = small(texts, {"kind": "pretrained", "path": str(pretrained)})
    run = open_run(execute(recipe, runs_dir=tmp_path))
    described = run.provenance["data"]["bos"]
    assert described == {"token_ids": [300], "tokens": ["<s>"], "why": "the model's tokenizer adds it"}
    passages = run.probes["train"].passages
    assert {(int(passage.token_ids[0]), passage.bos_tokens, len(passage) <= 24) for passage in passages} == {
        (300, 1, True)
    }
    tokens = int(run.measure("evaluation")["n_tokens"].sel(probe="train")[0])
    assert tokens == sum(len(passage) - 1 for passage in passages)
    view = RunGroup([run]).runs[0]
    assert ("Before every text", "<s>: the model's tokenizer adds it") in facts(view)
    texts_group = next(group for group in provenance_groups(view) if group["title"] == "Texts")
    assert ("before every text", "<s>: the model's tokenizer adds it") in texts_group["rows"]  # type: ignore[operator]

    again = prepare_again(run, recipe)
    assert again.probes["train"].fingerprint == run.probes["train"].fingerprint

    child = open_run(execute(small(texts, {"kind": "from_run", "run": str(run.path)}), runs_dir=tmp_path))
    assert child.provenance["data"]["bos"] == described


def test_a_run_that_began_before_this_was_recorded_goes_on_without(
    pretrained: Path, texts: Path, tmp_path: Path
) -> None:
    """As an earlier version left it: its passages began with text, and nothing was said about it."""
    without = small(texts, {"kind": "pretrained", "path": str(pretrained)}, bos=False)
    path = execute(without, runs_dir=tmp_path)
    run = open_run(path)
    assert {passage.bos_tokens for passage in run.probes["train"].passages} == {0}
    assert run.provenance["data"]["bos"]["why"] == "the recipe says bos: false"
    provenance = {**run.provenance, "data": {key: of for key, of in run.provenance["data"].items() if key != "bos"}}
    recipe = small(texts, {"kind": "pretrained", "path": str(pretrained)})
    assert recipe.recipe_hash != without.recipe_hash  # a key that says nothing is not in the hash
    assert "bos" not in json.dumps(recipe._content())

    earlier = SimpleNamespace(path=run.path, provenance=provenance, verify_files=lambda name: None)
    again = prepare_again(earlier, recipe)  # type: ignore[arg-type]
    assert again.probes["train"].fingerprint == run.probes["train"].fingerprint


def test_a_model_from_scratch_says_so(texts: Path, tmp_path: Path) -> None:
    content = tree(texts, measures=[], train={"steps": 1, "batch": 2}, checkpoints={"steps": [1]})
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path))
    assert run.provenance["data"]["bos"]["token_ids"] == []
    assert not [label for label, _ in facts(RunGroup([run]).runs[0]) if label == "Before every text"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("mamba", {"state_size": 4}),
        ("rwkv", {"attention_hidden_size": 16, "context_length": 64}),
        (
            "jamba",
            {
                "intermediate_size": 16,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "attn_layer_period": 2,
                "attn_layer_offset": 1,
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "use_mamba_kernels": False,
                "mamba_d_state": 4,
                "mamba_dt_rank": 4,
            },
        ),
    ],
)
def test_a_recurrent_model_is_trained_from_what_it_was_saved_as(
    kind: str, sizes: dict[str, Any], texts: Path, tmp_path: Path
) -> None:
    """Its configuration holds only what its own class knows; the loss recorded is that of plain passes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from ontogeny.data.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([" ".join(WORDS)] * 4, 300)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, **sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    run = open_run(execute(small(texts, {"kind": "pretrained", "path": str(tmp_path / "base")}), runs_dir=tmp_path))
    evaluation = run.measure("evaluation")
    assert evaluation.step.values.tolist() == [0, 1]
    nats = [
        float(torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum").detach())
        for ids in (torch.tensor(passage.token_ids[None].astype(int)) for passage in run.probes["train"].passages)
    ]
    tokens = int(evaluation["n_tokens"].sel(probe="train")[0])
    assert float(evaluation["nll"].sel(probe="train")[0]) == pytest.approx(sum(nats) / tokens, rel=1e-5)
