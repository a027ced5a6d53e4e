"""The landscape of learning rates: equal to real steps, and training does not notice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError, RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.looking.guard import untouched
from ontogeny.measures.lr_landscape import LrLandscape
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.train.live_training import LiveSession
from ontogeny.train.loop import training_steps
from ontogeny.train.session import Session
from tests.measures.small import make_context, make_model, random_probe
from tests.small_runs import tree, write_text
from tests.train.test_loop import session_of


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("words"))


def _look(session: Session, measure: LrLandscape) -> Any:
    probe = random_probe("novel", [20] * 8, vocabulary=session.model.config.vocab_size)
    context = make_context(session.model, [probe], training=LiveSession(session), objective=session.objective)
    with untouched(session.model):
        return measure.look(context).arrays


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam with L2", "SGD with momentum", "SGD, Nesterov"])
@pytest.mark.parametrize("taken", [0, 4])
def test_losses_are_those_of_real_steps(texts: Path, optimizer: str, taken: int) -> None:
    """At every rate: the loss after theta + rate x direction, and after a step of the optimizer itself, within 1e-6."""
    session = session_of(texts, clip=0.5)
    groups = [{k: g[k] for k in ("params", "multiplier", "weight_decay")} for g in session.optimizer.param_groups]
    kinds: dict[str, Any] = {
        "AdamW": lambda: torch.optim.AdamW(groups, lr=0.0, weight_decay=0.1),
        "Adam with L2": lambda: torch.optim.Adam([{**g, "weight_decay": 0.1} for g in groups], lr=0.0),
        "SGD with momentum": lambda: torch.optim.SGD(groups, lr=0.0, momentum=0.9),
        "SGD, Nesterov": lambda: torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True),
    }
    session.optimizer = kinds[optimizer]()
    steps = training_steps(session)
    for _ in range(taken):
        next(steps)
    highest = 0.01 if "Adam" in optimizer else 1.0
    settings: dict[str, Any] = {"rates": 6, "lowest": 1e-5, "highest": highest, "targets": (0.001,), "refine": 0}
    exact = _look(session, LrLandscape(**settings))
    with LiveSession(session).trial():  # the same with real steps: horizon 1 by the route of longer horizons
        real = _real(session, exact)
    assert exact["loss"].values == pytest.approx(real, abs=1e-6)


@pytest.mark.parametrize("kind", ["muon", {"kind": "sgd", "momentum": 0.9, "nesterov": True}])
def test_optimizers_of_recipes_tell_theirs(texts: Path, kind: Any) -> None:
    session = session_of(texts, clip=0.5, optimizer=kind)
    next(training_steps(session))
    exact = _look(session, LrLandscape(rates=4, lowest=1e-5, highest=0.1, targets=(), refine=0))
    assert exact["loss"].values == pytest.approx(_real(session, exact), abs=1e-6)
    assert "not_assessable" not in exact.attrs


def test_an_optimizer_that_cannot_tell_is_not_assessable(texts: Path) -> None:
    """One step at a time; with a longer horizon real steps are taken."""
    session = session_of(texts, optimizer="adafactor")
    seen = _look(session, LrLandscape(rates=4, targets=(0.01, 0.1)))
    assert "the step of the optimizer 'adafactor' is not known" in seen.attrs["not_assessable"]
    assert np.isfinite(seen["loss_before"].values).all()
    for name in ("loss", "decrease", "rate_for_target", "decrease_at_target", "best_rate", "decrease_at_schedule"):
        assert np.isnan(seen[name].values).all()
    longer = _look(session, LrLandscape(rates=4, targets=(0.01, 0.1), horizon=2))
    assert np.isfinite(longer["loss"].values).all()
    assert {name: longer[name].dims for name in longer} == {name: seen[name].dims for name in seen}


def _real(session: Session, exact: Any) -> np.ndarray:
    from ontogeny.measures.lr_landscape import _losses

    probe = random_probe("novel", [20] * 8, vocabulary=session.model.config.vocab_size)
    live = LiveSession(session)
    context = make_context(session.model, [probe], training=live, objective=session.objective)
    batches = LrLandscape()._batches(context)
    found = []
    for rate in exact["learning_rate"].values:
        with live.trial() as trial:
            trial.step(float(rate))
            found.append(_losses(context, batches))
    return np.stack(found, axis=1)


def test_horizons_take_real_steps(texts: Path) -> None:
    """Two steps at a fixed rate, by hand."""
    session = session_of(texts)
    seen = _look(session, LrLandscape(rates=4, lowest=1e-4, highest=1e-2, horizon=2, targets=(), refine=0))
    live = LiveSession(session)
    with live.trial() as trial:
        trial.step(1e-2)
        trial.step(1e-2)
        again = _look(session, LrLandscape(rates=4, horizon=1, targets=(), refine=0))
    assert float(seen["loss"].sel(batch="new").values[-1]) == pytest.approx(
        float(again["loss_before"].sel(batch="new")), abs=1e-6
    )


def test_targets_are_reached_where_they_can_be(texts: Path) -> None:
    """What the model is tested on is what it trains on, so a step helps: the smallest rate of a reachable target gets
    there, a little less does not; 99% is out of reach; a high rate does harm.
    """
    session = session_of(texts)
    measure = LrLandscape(rates=24, lowest=1e-6, highest=1.0, targets=(0.01, 0.99, -0.5), refine=6)
    passages = [session.examples[i] for i in session.plan.batch_at(0)]
    from ontogeny.core.passages import ProbeSet

    context = make_context(
        session.model,
        [ProbeSet(name="novel", passages=passages)],
        training=LiveSession(session),
        objective=session.objective,
    )
    with untouched(session.model):
        seen = measure.look(context).arrays
    small, out, harm = seen["rate_for_target"].values
    assert seen["decrease_at_target"].values[0] >= 0.01
    assert np.isnan(out)
    assert seen["decrease_at_target"].values[2] <= -0.5
    assert small < float(seen["best_rate"]) < harm
    with LiveSession(session).trial() as trial:
        trial.step(small * 0.9)
        before = float(seen["loss_before"].sel(batch="new"))
        assert (before - float(_look_at(session, passages))) / before < 0.01
    assert float(seen["best_decrease"]) >= float(seen["decrease"].sel(batch="new").max())


def _look_at(session: Session, passages: Any) -> float:
    from ontogeny.core.passages import ProbeSet

    context = make_context(
        session.model,
        [ProbeSet(name="novel", passages=passages)],
        training=LiveSession(session),
        objective=session.objective,
    )
    measure = LrLandscape(rates=4, targets=(), refine=0)
    with untouched(session.model):
        return float(measure.look(context).arrays["loss_before"].sel(batch="new"))


def test_noise_cannot_be_learned(texts: Path) -> None:
    """Held-out random tokens, far from what is trained on: no rate makes 5% of their loss go away in a step."""
    seen = _look(session_of(texts), LrLandscape(targets=(0.05,), highest=1e-3))
    assert np.isnan(seen["rate_for_target"].values).all()


@pytest.mark.slow
def test_training_does_not_notice(texts: Path, tmp_path: Path) -> None:
    """The whole run, checkpoint by checkpoint, with and without: weights and optimizer state are the same files."""
    measure = {"kind": "lr_landscape", "general": "train", "rates": 5, "horizon": 1}
    long = measure | {"name": "two_steps", "horizon": 2}
    paths = [
        execute(validate(tree(texts, measures=measures), "test"), runs_dir=tmp_path / name)
        for name, measures in (("without", []), ("with", [measure, long]))
    ]
    without, with_it = map(open_run, paths)
    assert [c.manifest["files"] for c in without.checkpoints] == [c.manifest["files"] for c in with_it.checkpoints]
    seen = with_it.measure("lr_landscape")
    assert seen["loss"].dims == ("checkpoint", "batch", "learning_rate")
    assert np.isfinite(seen["loss"].values).all()
    assert "lr_landscape/best_rate" in set(with_it.metrics["name"])


def test_it_needs_training_and_known_probe_sets(texts: Path) -> None:
    probe = random_probe("novel", [20] * 4)
    with pytest.raises(OntogenyError, match="needs the training itself"):
        LrLandscape().look(make_context(make_model(), [probe]))
    session = session_of(texts)
    context = make_context(session.model, [probe], training=LiveSession(session))
    with pytest.raises(OntogenyError, match="unknown probe set 'nvel': did you mean 'novel'"):
        LrLandscape(new="nvel").look(context)


def test_what_cannot_be_searched_is_refused_with_the_recipe(texts: Path) -> None:
    """Before any text is read; a target of 0 is neither decrease nor increase, and no loss falls by all of itself."""
    for settings, message in (
        ({"lowest": 0.1, "highest": 0.1}, "lowest 0.1 is not below highest 0.1"),
        ({"targets": [0.01, 0.0]}, r"a target is a decrease, as 0\.01 for 1%, or an increase, as -0\.01; found 0"),
        ({"targets": [1.0]}, r"or an increase, as -0\.01; found 1"),
    ):
        with pytest.raises(RecipeError, match=message):
            validate(tree(texts, measures=[{"kind": "lr_landscape", **settings}]), "test")
    validate(tree(texts, measures=[{"kind": "lr_landscape", "targets": [0.999, -3.0]}]), "test")


def test_what_a_target_costs_is_the_loss_of_a_real_step_at_its_rate(texts: Path) -> None:
    """Of every batch, at rates between those of the grid and beyond it; NaN where no rate reaches the target."""
    session = session_of(texts)
    targets = (0.01, 0.99, -0.5)
    passages = [session.examples[i] for i in session.plan.batch_at(0)]
    measure = LrLandscape(rates=4, lowest=1e-6, highest=1e-3, targets=targets, general="novel")
    seen = _look_on(session, passages, measure)
    rates = seen["rate_for_target"].values
    assert seen["loss_at_target"].dims == ("batch", "target")
    assert np.isnan(seen["loss_at_target"].values[:, 1]).all()
    assert rates[2] > 1e-3
    for place in (0, 2):
        with LiveSession(session).trial() as trial:
            trial.step(float(rates[place]))
            after = _look_on(session, passages, LrLandscape(rates=4, targets=(), general="novel"))["loss_before"]
        for batch in ("new", "general"):
            real = float(after.sel(batch=batch))
            assert float(seen["loss_at_target"].sel(batch=batch)[place]) == pytest.approx(real, rel=1e-5)
    before = seen["loss_before"].sel(batch="new").values
    assert 1 - seen["loss_at_target"].sel(batch="new").values[[0, 2]] / before == pytest.approx(
        seen["decrease_at_target"].values[[0, 2]]
    )


def test_a_target_beyond_the_highest_rate_is_reached_there(texts: Path) -> None:
    """The rate that a wide grid finds for 1% is found from a grid that ends at a tenth of it, too, within the bisection
    of a doubling, 2^(1/64) = 1%; with a grid a thousandth of a thousandth below, the decrease still grows at the bound:
    no rate, and infinity, not NaN.
    """
    session = session_of(texts)
    passages = [session.examples[i] for i in session.plan.batch_at(0)]

    def rate_of(**settings: Any) -> float:
        measure = LrLandscape(rates=8, targets=(0.01,), refine=6, **settings)
        return float(_look_on(session, passages, measure)["rate_for_target"][0])

    wide = rate_of(lowest=1e-6, highest=1.0)
    assert rate_of(lowest=wide / 1000, highest=wide / 10) == pytest.approx(wide, rel=0.03)
    assert rate_of(lowest=wide * 10, highest=wide * 20) == pytest.approx(wide, rel=0.03)
    assert rate_of(lowest=wide / 1e8, highest=wide / 1e5) == np.inf
    assert np.isnan(float(_look_on(session, passages, LrLandscape(targets=(0.99,)))["rate_for_target"][0]))


def _look_on(session: Session, passages: Any, measure: LrLandscape) -> Any:
    from ontogeny.core.passages import ProbeSet

    probe = ProbeSet(name="novel", passages=passages)
    live = LiveSession(session)
    with untouched(session.model):
        return measure.look(make_context(session.model, [probe], training=live, objective=session.objective)).arrays


def test_rates_at_which_no_loss_is_finite(texts: Path) -> None:
    """No decrease is known, and lower rates are the ones to try (0); an increase is reached by a loss that is not
    finite. From 1e25 on the grid is extended by its spacing, 10^(5/3), to 1e25 / 10^(5/3) = 2.15e23: the next would be
    below 1e22, a thousandth.
    """
    seen = _look(session_of(texts), LrLandscape(lowest=1e25, highest=1e30, rates=4, targets=(0.01, -0.1)))
    assert np.isnan([float(seen[name]) for name in ("best_rate", "best_decrease")]).all()
    assert float(seen["rate_for_target"][0]) == 0
    assert float(seen["rate_for_target"][1]) == pytest.approx(1e25 / 10 ** (5 / 3))
