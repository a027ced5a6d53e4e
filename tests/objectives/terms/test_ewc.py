"""Elastic weight consolidation: by hand, as what it does to training, and through interruptions."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ontogeny.core.errors import RecipeError, StoreError
from ontogeny.core.progress import Progress
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.core.schedule import Schedule, Scheduled
from ontogeny.core.takes import Take
from ontogeny.core.terms import Start, Term, Unit
from ontogeny.objectives.anchor import anchor_of
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.ewc import Ewc
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute, resume
from ontogeny.store.run import Run, open_run
from ontogeny.train import loop
from ontogeny.train.anchors import compute_anchors
from ontogeny.train.loop import training_steps
from ontogeny.train.session import open_session
from tests.measures.small import make_model, random_probe
from tests.small_runs import differences, interrupt_and_resume, tree, write_text

TERM = {"kind": "ewc", "weight": 2.0, "text": {"of": "words/novel", "count": 5}}
EWC = Ewc(text=Take(of="words/novel"), weight=Schedule(value=3.0))


def penalty(term: Term, parameters: dict[str, torch.Tensor], anchor: Any) -> torch.Tensor:
    """The term's value at these parameters."""
    return term.value(SimpleNamespace(parameters=parameters, anchor=anchor))[0]  # type: ignore[arg-type]


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.at = torch.nn.Parameter(torch.zeros(2))


def test_by_hand() -> None:
    """At (1, 2), from 0, with F = (2, 0.5): 1/2 (2 x 1 + 0.5 x 4) = 2; the gradient is F x distance = (2, 1)."""
    model = Line()
    anchor = anchor_of(model, {"at": torch.tensor([2.0, 0.5])})
    moved = torch.tensor([1.0, 2.0], requires_grad=True)
    value = penalty(EWC, {"at": moved}, anchor)
    value.backward()
    assert value.item() == 2.0
    assert moved.grad is not None
    assert moved.grad.tolist() == [2.0, 1.0]


class Towards(Term):
    """1/2 |theta - 1|^2."""

    weight: Scheduled = Schedule(value=1.0)
    """Its weight."""

    def value(self, forward: Any) -> tuple[torch.Tensor, Unit]:
        return 0.5 * (forward.model.at - 1).square().sum(), "batch"


def test_training_ends_where_new_and_old_balance() -> None:
    """Minimise 1/2 (x - 1)^2 + 3/2 F x^2: x = 1 / (1 + 3 F). With F = (1, 0): 1/4, and 1 where nothing matters."""
    model = Line()
    objective = Objective([Towards(), EWC], {"ewc": anchor_of(model, {"at": torch.tensor([1.0, 0.0])})})
    forward: Any = SimpleNamespace(model=model)
    for _ in range(60):
        units: dict[Unit, float] = {"batch": 1.0}
        objective.train_loss(forward, Progress(step=0, total_steps=1, epoch=0), units)[0].backward()
        with torch.no_grad():
            model.at -= 0.2 * model.at.grad
            model.at.grad = None
    assert model.at.tolist() == pytest.approx([0.25, 1.0], abs=1e-4)


def test_it_is_the_divergence_from_the_start() -> None:
    """After a small random change of the weights the term is the mean KL per token from the start, within sampling."""
    model, passages = make_model(dropout=0.0, spread=20.0).eval(), random_probe("a", [24] * 48).passages
    anchor = EWC.anchor(Start(model=model, passages=passages, seed=0))
    ids = torch.from_numpy(np.stack([p.token_ids for p in passages]).astype(np.int64))
    found, expected = [], []
    with torch.no_grad():
        before = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
        generator = torch.Generator().manual_seed(1)
        for _ in range(8):
            for name, p in model.named_parameters():
                p.copy_(anchor[f"start/{name}"] + 2e-3 * torch.randn(p.shape, generator=generator))
            after = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
            expected.append(float((before.exp() * (before - after)).sum(-1).mean()))
            found.append(float(penalty(EWC, dict(model.named_parameters()), anchor)))
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.1)


def _content(folder: Path, **changes: Any) -> dict[str, Any]:
    words = folder / "words"
    if not words.exists():
        write_text(words)
    return tree(words, objective=["next_token", {**TERM, **changes}])


@pytest.mark.slow
def test_a_strong_one_holds_the_old_text(tmp_path: Path) -> None:
    """A model that cannot forget the text it holds; without the term, the loss there moves."""
    change = {}
    for weight in (0.0, 1e10):
        content = _content(tmp_path, weight=weight, text={"of": "words/novel"})
        content["data"]["probes"] = {"novel": {"of": "words/novel"}}
        schedule = {"shape": "linear", "value": 0.0005}
        content["train"] = {"epochs": 60, "batch": 11, "dropout": 0.0, "clip": None, "lr": schedule}
        content |= {"checkpoints": {"epochs": [0, 60]}, "measures": ["evaluation"]}
        run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
        nll = run.measure("evaluation")["nll"].sel(probe="novel").values
        change[weight] = abs(nll[-1] - nll[0])
    assert change[0.0] > 0.1
    assert change[1e10] < 1e-4


def _session(folder: Path, accumulate: int) -> Any:
    from ontogeny.data.prepare import prepare
    from ontogeny.models.build import LoadContext, build_model

    content = _content(folder, weight=50.0)
    content["train"] = {"steps": 4, "batch": 8, "accumulate": accumulate, "lr": 0.01, "clip": None}
    recipe = validate(content, "test")
    prepared = prepare(recipe)
    model = build_model(
        recipe, LoadContext(tokenizer=prepared.tokenizer, length=recipe.data.length, seed=0, dropout=0.0)
    )
    anchors = compute_anchors(recipe, model, prepared, None)
    return open_session(recipe, model=model, tokenizer=prepared.tokenizer, examples=prepared.examples, anchors=anchors)


def test_it_is_counted_once_per_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 micro-batches of 1 as 1 of 8, in loss and in what is recorded; as `_units` counts pieces. Counting a step as
    one batch, as a negative control, shows."""
    one, eight = ([(e.loss, e.terms["ewc"]) for e in training_steps(_session(tmp_path, n))] for n in (1, 8))
    assert one[-1][1] > 0.001  # there is something to count
    assert np.array(eight) == pytest.approx(np.array(one), rel=1e-4)
    units = loop._units
    monkeypatch.setattr(loop, "_units", lambda session, ids: {**units(session, ids), "batch": 1.0})
    wrong = [e.terms["ewc"] for e in training_steps(_session(tmp_path, 8))]
    assert wrong[1] > 4 * one[1][1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ewc")
    return execute(validate(_content(folder), "test"), runs_dir=folder / "runs")


@pytest.mark.slow
def test_an_interrupted_run_remembers(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed once, read afterwards: bit for bit the run that nothing interrupted."""
    calls, anchor_once = [], Ewc.anchor

    def counting(self: Ewc, start: Start) -> Any:
        calls.append(1)
        return anchor_once(self, start)

    monkeypatch.setattr(Ewc, "anchor", counting)
    folder = whole.parent.parent
    parts = interrupt_and_resume(validate(_content(folder), "test"), tmp_path / "runs", 6, monkeypatch)
    assert calls == [1]
    assert differences(whole, parts.path) == []


@pytest.mark.slow
def test_training_and_looks_report_it_beside_the_plain_loss(whole: Path) -> None:
    run = open_run(whole)
    seen = run.measure("evaluation").sel(probe="train")
    assert seen["term_ewc"].values[0] == 0.0
    assert seen["term_ewc"].values[-1] > 0
    expected = seen["term_next_token"] + 2.0 * seen["term_ewc"]
    assert seen["objective"].values == pytest.approx(expected.values)
    assert seen["nll"].values == pytest.approx(seen["term_next_token"].values, rel=1e-5)  # all tokens are supervised
    by_step = run.series("term_ewc", "train").set_index("step")["value"]
    assert by_step[0] == 0.0
    assert by_step[4] == pytest.approx(float(seen["term_ewc"][1]), rel=1e-5)  # states 0, 4, 8, 12


def test_looking_afterwards_sees_the_same(whole: Path) -> None:
    again = validate_component("ontogeny.measures", {"kind": "evaluation", "name": "again"})
    backfill(whole, [again])
    run: Run = open_run(whole)
    live, later = run.measure("evaluation").load(), run.measure("again").load()
    for name in ("term_ewc", "objective"):
        assert np.array_equal(live[name].values, later[name].values)


def test_over_runs_it_adds_up(whole: Path, tmp_path: Path) -> None:
    """Online: with decay 1/2 a run that starts from another holds F = F here + 1/2 F there; with 0, F here alone."""
    found = {}
    for decay in (0.0, 0.5):
        content = _content(whole.parent.parent, decay=decay) | {"model": {"kind": "from_run", "run": str(whole)}}
        del content["tokenizer"]
        content |= {"train": {"steps": 1}, "measures": []}
        found[decay] = load_file(execute(validate(content, "test"), runs_dir=tmp_path) / "remembered/ewc.safetensors")
    before = load_file(whole / "remembered/ewc.safetensors")
    names = [name for name in before if name.startswith("importance/")]
    assert len(names) == len(before) / 2
    assert all(torch.equal(found[0.5][name], found[0.0][name] + 0.5 * before[name]) for name in names)
    assert torch.equal(found[0.5]["start/lm_head.weight"], found[0.0]["start/lm_head.weight"])
    assert not torch.equal(found[0.5]["start/lm_head.weight"], before["start/lm_head.weight"])  # anchored anew


def test_what_is_lost_is_said(whole: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "copy"
    shutil.copytree(whole, run)
    (run / "remembered" / "ewc.safetensors").unlink()
    with pytest.raises(StoreError, match=r"ewc\.safetensors.*bring the file back"):
        resume(run, steps=14)


def test_an_unknown_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown split 'nvel'"):
        validate(_content(tmp_path, text={"of": "words/nvel"}), "test")
