"""The objective of Kendall et al. by hand, its parameters in the optimizer and moving, saved and resumed exactly."""

import math
import shutil
from pathlib import Path

import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.measures.evaluation import Evaluation
from ontogeny.objectives.compose import WEIGHTING
from ontogeny.objectives.weightings.uncertainty import Uncertainty
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute
from ontogeny.store.run import Run, open_run
from ontogeny.train.loop import step_gradients, training_steps
from tests.objectives.weightings.weighted_runs import TERMS, session_of, weighted_recipe
from tests.small_runs import differences, interrupt_and_resume, tree


def test_factor_and_offset() -> None:
    """s = (0, ln 4): factors 1 and 1/4, offsets 0 and ln 2. At s = ln(2 L) the derivative of exp(-s) L + s/2 is 0."""
    weighting = Uncertainty()
    module = weighting.build(["a", "b"])
    with torch.no_grad():
        module.get_parameter("log_variance").copy_(torch.tensor([0.0, math.log(4.0)]))
    factors, offsets = weighting.factors(module)
    assert factors.tolist() == pytest.approx([1.0, 0.25])
    assert offsets.tolist() == pytest.approx([0.0, math.log(2.0)])
    losses = torch.tensor([0.5, 2.0])  # ln(2 x 0.5) = 0, ln(2 x 2) = ln 4
    (factors * losses + offsets).sum().backward()
    assert module.get_parameter("log_variance").grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-7)


def test_its_parameters_are_in_the_optimizer_and_move(texts: Path) -> None:
    """Adam's first step goes by the learning rate (0.01) against the sign of 1/2 - w L: up where w L > 1/2."""
    session = session_of(weighted_recipe(texts, weighting="uncertainty"))
    parameter = session.modules[WEIGHTING].get_parameter("log_variance")
    assert any(parameter is p for group in session.optimizer.param_groups for p in group["params"])
    event = next(training_steps(session))
    for term, moved in zip(TERMS, parameter.tolist(), strict=True):
        upwards = term["weight"] * event.terms[term["kind"]] > 0.5
        assert moved == pytest.approx(0.01 if upwards else -0.01, rel=1e-3)
    moving = session.objective.weights(session.progress())
    assert moving["next_token"] == pytest.approx(0.5 * math.exp(-parameter[0].item()))


def test_accumulation_counts_the_offset_once(texts: Path) -> None:
    cuts = [{"steps": 2, "batch": 6, "accumulate": pieces} for pieces in (1, 3)]
    sessions = [session_of(weighted_recipe(texts, weighting="uncertainty", train=train)) for train in cuts]
    for session in sessions:
        with torch.no_grad():
            session.modules[WEIGHTING].get_parameter("log_variance").fill_(1.0)
    whole, cut = (step_gradients(session) for session in sessions)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    # exp(-1) sum w L + 4 x 1/2
    by_hand = math.exp(-1) * sum(term["weight"] * whole.told[term["kind"]] for term in TERMS) + 2.0
    assert whole.loss == pytest.approx(by_hand, rel=1e-6)
    first, second = (s.modules[WEIGHTING].get_parameter("log_variance").grad for s in sessions)
    assert first.tolist() == pytest.approx(second.tolist(), rel=1e-5)


def test_listeners_hear_summands_that_add_up(texts: Path) -> None:
    """The audit adds up weight x term: what the weighting adds, 4 x s / 2 = 2 at s = 1, is a summand of weight 1."""
    session = session_of(weighted_recipe(texts, weighting="uncertainty"))
    with torch.no_grad():
        session.modules[WEIGHTING].get_parameter("log_variance").fill_(1.0)
    heard: list[tuple[dict[str, torch.Tensor], dict[str, float], torch.Tensor]] = []
    session.objective.listeners.append(lambda *said: heard.append(said))
    step_gradients(session)
    ((terms, weights, total),) = heard
    assert float(terms["weighting"].detach()) == pytest.approx(2.0)
    assert sum(weights[name] * float(terms[name].detach()) for name in terms) == pytest.approx(total.item(), rel=1e-6)


@pytest.fixture(scope="module")
def learned(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = weighted_recipe(texts, weighting="uncertainty")
    return open_run(execute(recipe, runs_dir=tmp_path_factory.mktemp("runs")))


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(
    learned: Run, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = weighted_recipe(texts, weighting="uncertainty")
    assert differences(learned.path, interrupt_and_resume(recipe, tmp_path, 5, monkeypatch).path) == []


def test_effective_weights_are_recorded_and_evaluation_uses_them(learned: Run) -> None:
    """At step 0 they are the recipe's; the loss is sum of weight x term plus offsets, -ln(factor) / 2 each."""
    series = {term["kind"]: learned.series(f"weight_{term['kind']}", "train")["value"].to_numpy() for term in TERMS}
    for term in TERMS:
        assert series[term["kind"]][0] == term["weight"]
        assert len(set(series[term["kind"]])) == 6, "it moves at every step"
    loss = learned.series("loss", "train")["value"].to_numpy()
    for step in range(6):
        composed = sum(
            series[t["kind"]][step] * learned.series(f"term_{t['kind']}", "train")["value"].to_numpy()[step]
            - math.log(series[t["kind"]][step] / t["weight"]) / 2
            for t in TERMS
        )
        assert loss[step] == pytest.approx(composed, rel=1e-5)
    evaluated = learned.measure("evaluation").sel(probe="novel").isel(checkpoint=1)  # state 2
    composed = sum(
        series[t["kind"]][2] * float(evaluated[f"term_{t['kind']}"]) - math.log(series[t["kind"]][2] / t["weight"]) / 2
        for t in TERMS
    )
    assert float(evaluated["objective"]) == pytest.approx(composed, rel=1e-5)


@pytest.mark.slow
def test_looking_afterwards_sees_the_learned_weights(learned: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(learned.path, copy)
    live = open_run(copy).measure("evaluation").load()
    backfill(copy, [Evaluation(name="again")])
    again = open_run(copy).measure("again").load()
    assert again["objective"].values.tolist() == live["objective"].values.tolist()


def test_a_weight_below_0_and_stopping_by_what_is_learned_are_refused(texts: Path) -> None:
    terms = [{"kind": "next_token"}, {"kind": "kd", "weight": -0.5}]
    with pytest.raises(RecipeError, match="'kd' has a weight below 0"):
        weighted_recipe(texts, objective=terms, weighting="uncertainty")
    weighted_recipe(texts, objective=terms)
    train = {"steps": 6, "controls": [{"kind": "early_stopping", "probe": "novel", "metric": "objective"}]}
    terms = [{"kind": "next_token"}, {"kind": "hidden"}]
    with pytest.raises(RecipeError, match="what weighting: uncertainty learns changes"):
        weighted_recipe(texts, objective=terms, weighting="uncertainty", train=train)
    weighted_recipe(texts, objective=terms, weighting="pcgrad", train=train)


def test_without_a_training_nothing_is_learned(texts: Path) -> None:
    content = tree(texts, objective=["next_token", {"kind": "reconstruction"}], weighting="uncertainty")
    del content["train"]
    content["data"] = {key: value for key, value in content["data"].items() if key != "train"}
    with pytest.raises(RecipeError, match="there is no training"):
        validate(content, "test")
