"""Shrink and perturb: by hand, in its statistics, and through an interruption."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import Progress
from ontogeny.core.recipe_file import validate
from ontogeny.core.schedule import Cadence
from ontogeny.interventions.shrink_and_perturb import ShrinkAndPerturb
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.measures.small import make_model
from tests.small_runs import differences, interrupt_and_resume, tree, write_text

AT = Cadence(every_steps=1)


def _context(model: Any, step: int = 3, seed: int = 5) -> Any:
    return SimpleNamespace(model=model, seed=seed, progress=Progress(step=step, total_steps=9, epoch=0.0))


def test_without_noise_matrices_shrink_and_vectors_stay() -> None:
    """Halved: the change is half of what there was, so the distance is 0.5."""
    model = make_model()
    change = ShrinkAndPerturb(at=AT, shrink=0.5, noise=0.0).apply(_context(model))
    parameters = dict(model.named_parameters())
    assert set(change.weights) == {name for name, p in parameters.items() if p.ndim == 2}
    assert all(torch.equal(value, parameters[name].detach() / 2) for name, value in change.weights.items())
    assert all(mask.all() for mask in change.reset_moments.values())
    assert change.values == {"distance": pytest.approx(0.5)}


def test_noise_has_the_spread_of_a_model_from_scratch() -> None:
    """Twice 0.02 (initializer_range): 0.04, within 5% on 300 x 24 numbers, mean 0; another step draws others."""
    model, name = make_model(), "gpt_neox.embed_in.weight"
    wide = ShrinkAndPerturb(at=AT, shrink=1.0, noise=2.0)
    one, again, other = (wide.apply(_context(model, step)).weights[name] for step in (3, 3, 4))
    added = one - dict(model.named_parameters())[name].detach()
    assert added.std().item() == pytest.approx(0.04, rel=0.05)
    assert abs(added.mean().item()) < 0.002  # 4 standard errors
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_model_that_says_no_scale_is_refused() -> None:
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=SimpleNamespace))
    with pytest.raises(OntogenyError, match="initializer_range"):
        ShrinkAndPerturb(at=AT).apply(_context(model))


def _content(folder: Path) -> dict[str, Any]:
    content = tree(write_text(folder / "words"), measures=["evaluation"], checkpoints={"steps": [0, 4, 5, 12]})
    setting = {"kind": "shrink_and_perturb", "at": {"steps": [4, 12]}, "shrink": 0.3, "noise": 1.0}
    content["train"] = {**content["train"], "interventions": [setting]}
    return content


@pytest.mark.slow
def test_an_interrupted_run_is_perturbed_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its checkpoint at 4 it is perturbed there again. At 12, the last state, nothing happens."""
    recipe = validate(_content(tmp_path), "test")
    whole = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 4, monkeypatch)
    assert differences(whole.path, parts.path) == []
    assert whole.series("shrink_and_perturb_distance", "train")["step"].tolist() == [4]
    nll = whole.measure("evaluation")["nll"].sel(probe="novel").values  # states 0, 4, 5, 12
    assert nll[2] > nll[1] + 0.05


def test_the_optimizer_begins_anew(tmp_path: Path) -> None:
    """After the step that follows, the first moment of a matrix is (1 - beta1) times its clipped gradient: the one of a
    fresh optimizer, whose norm is at most (1 - 0.9) x 1. Before, it held more."""
    from safetensors.torch import load_file

    run = open_run(execute(validate(_content(tmp_path), "test"), runs_dir=tmp_path / "runs"))
    moments = {}
    for checkpoint in run.checkpoints:
        saved = load_file(checkpoint.trainer_path / "optimizer.safetensors") if checkpoint.step else {}
        moments[checkpoint.step] = {k.removesuffix("//exp_avg"): v for k, v in saved.items() if k.endswith("exp_avg")}
    matrices = torch.cat([v.ravel() for v in moments[5].values() if v.ndim == 2])
    before = torch.cat([v.ravel() for v in moments[4].values() if v.ndim == 2])
    assert matrices.norm() <= 0.1 + 1e-6
    assert before.norm() > 0.11
