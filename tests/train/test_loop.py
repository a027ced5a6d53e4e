"""The loop: accumulation, schedules as functions of the step, learning rates per block, errors."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ontogeny.core.errors import RunFailedError
from ontogeny.core.recipe_file import validate
from ontogeny.data.prepare import prepare
from ontogeny.models.build import LoadContext, build_model
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.train.loop import NonFiniteLossError, training_steps
from ontogeny.train.parameter_groups import block_multipliers
from ontogeny.train.session import Session, open_session
from tests.small_runs import tree


def session_of(texts: Path, **train: Any) -> Session:
    settings = {"epochs": 2, "batch": 8, "lr": 0.01, "dropout": 0.0} | train
    recipe = validate(tree(texts, train=settings), "test")
    prepared = prepare(recipe)
    context = LoadContext(tokenizer=prepared.tokenizer, length=recipe.data.length, seed=0, dropout=train.get("dropout"))
    model = build_model(recipe, context)
    return open_session(recipe, model=model, tokenizer=prepared.tokenizer, examples=prepared.examples)


def final_weights(session: Session) -> dict[str, torch.Tensor]:
    for _ in training_steps(session):
        pass
    return {name: p.detach().clone() for name, p in session.model.named_parameters()}


def first_gradients(session: Session) -> dict[str, torch.Tensor]:
    """Gradients of the first step (they stay until the next one clears them)."""
    next(training_steps(session))
    return {name: p.grad.clone() for name, p in session.model.named_parameters() if p.grad is not None}


def test_accumulation_1x8_equals_8x1(texts: Path) -> None:
    """Gradients are sums over tokens divided by the tokens of the whole step, so the split does not matter."""
    one, eight = session_of(texts, clip=None), session_of(texts, clip=None, accumulate=8)
    lengths = {len(one.examples[int(i)]) for i in one.plan.batch_at(0)}
    assert len(lengths) > 1, "passages of one length would not tell a mean of means from a mean"
    left, right = first_gradients(one), first_gradients(eight)
    assert max((left[name] - right[name]).abs().max() for name in left) < 1e-6
    losses = [[event.loss for event in training_steps(session)] for session in (one, eight)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_mean_of_micro_batch_means_would_be_noticed(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the test above: normalise each micro-batch by its own tokens."""
    from ontogeny.objectives.compose import Objective, count_units

    whole = Objective.train_loss

    def by_itself(self: Any, forward: Any, progress: Any, units: Any) -> Any:
        loss, parts = whole(self, forward, progress, count_units(forward))
        return loss / 8, parts

    left = first_gradients(session_of(texts, clip=None))
    monkeypatch.setattr(Objective, "train_loss", by_itself)
    right = first_gradients(session_of(texts, clip=None, accumulate=8))
    assert max((left[name] - right[name]).abs().max() for name in left) > 1e-4


def test_the_loss_is_the_mean_nll_of_the_supervised_tokens(texts: Path) -> None:
    """Against an independent computation, one passage at a time and without padding."""
    session = session_of(texts)
    total, count = 0.0, 0
    with torch.no_grad():
        for i in session.plan.batch_at(0):
            ids = torch.tensor(session.examples[int(i)].token_ids, dtype=torch.int64)[None]
            logits = session.model.eval()(ids).logits[0, :-1].double()
            total += float(F.nll_loss(torch.log_softmax(logits, -1), ids[0, 1:], reduction="sum"))
            count += ids.shape[1] - 1
    event = next(training_steps(session))
    assert event.loss == pytest.approx(total / count, rel=1e-6)
    assert event.supervised_tokens == count
    assert event.terms == {"next_token": pytest.approx(event.loss)}


def test_events_tell_the_step_they_took(texts: Path) -> None:
    session = session_of(texts, lr={"shape": "linear", "value": 0.01})
    events = list(training_steps(session))
    # 22 examples in batches of 8: 3 steps an epoch, the last of 6; 2 epochs
    assert [len(e.example_ids) for e in events] == [8, 8, 6, 8, 8, 6]
    assert sorted(i for e in events[:3] for i in e.example_ids) == list(range(22))
    # linear from 0.01 at state 0 to 0 at state 6: 0.01 x (1 - s / 6)
    assert [e.learning_rate for e in events] == pytest.approx([0.01 * (1 - s / 6) for s in range(6)])
    assert events[-1].tokens_seen == 2 * sum(len(example) for example in session.examples)
    assert session.step == 6


def test_a_learning_rate_of_zero_moves_nothing(texts: Path) -> None:
    session = session_of(texts, lr=0.0)
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    after = final_weights(session)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_clipping_bounds_the_gradient_and_reports_it_unclipped(texts: Path) -> None:
    free, clipped = session_of(texts, clip=None), session_of(texts, clip=1e-3)
    left, right = next(training_steps(free)), next(training_steps(clipped))
    assert left.grad_norm == pytest.approx(right.grad_norm)
    norm = math.sqrt(sum(float(p.grad.double().pow(2).sum()) for p in clipped.model.parameters() if p.grad is not None))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_block_multipliers_are_linear() -> None:
    blocks = [None, 0, 1, 2, None, None]  # embeddings, three blocks, final norm and head
    # first 0.1, last 1.0, the middle block halfway: 0.55
    assert block_multipliers(blocks, (0.1, 1.0)) == pytest.approx([0.1, 0.1, 0.55, 1.0, 1.0, 1.0])
    assert block_multipliers(blocks, None) == [1.0] * 6


def test_layer_slope_of_zero_freezes_the_first_block(texts: Path) -> None:
    session = session_of(texts, layer_slope=[0.0, 1.0])
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    after = final_weights(session)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if ".layers.0." in name or "embed_in" in name]
    assert [name for name in moved if ".layers.1." in name]
    assert [name for name in moved if "lm_head" in name or "embed_out" in name]


def test_a_nan_loss_stops_before_it_spoils_the_weights(texts: Path) -> None:
    session = session_of(texts)
    steps = training_steps(session)
    next(steps)
    good = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    with torch.no_grad():
        session.model.gpt_neox.final_layer_norm.weight[0] = float("nan")
    with pytest.raises(NonFiniteLossError) as error:
        next(steps)
    assert error.value.step == 1
    assert error.value.example_ids == [int(i) for i in session.plan.batch_at(1)]
    same = [name for name, p in session.model.named_parameters() if "final_layer_norm" not in name]
    assert all(torch.equal(dict(session.model.named_parameters())[name], good[name]) for name in same)


def test_a_run_with_a_nan_loss_says_step_passages_and_checkpoint(texts: Path, tmp_path: Path) -> None:
    recipe = validate(tree(texts, train={"epochs": 6, "batch": 8, "lr": 1e30, "clip": None}), "test")
    with pytest.raises(RunFailedError) as error:
        execute(recipe, runs_dir=tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert "words:" in message
    assert "last good checkpoint" in message
    assert "step-0000000" in message
    run = open_run(next(tmp_path.iterdir()))
    assert run.status["state"] == "failed"
    assert run.status["message"] == message


def test_bf16_trains_close_to_fp32_with_float32_weights(texts: Path) -> None:
    full, half = session_of(texts), session_of(texts, precision="bf16")
    left = [event.loss for event in training_steps(full)]
    right = [event.loss for event in training_steps(half)]
    assert right == pytest.approx(left, rel=0.02)
    assert right != left
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}


def test_seeds_shape_weights_order_and_nothing_else(texts: Path) -> None:
    same = final_weights(session_of(texts, dropout=0.1)), final_weights(session_of(texts, dropout=0.1))
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
    first, second = session_of(texts), session_of(texts, seed=1)
    assert list(first.plan.batch_at(0)) != list(second.plan.batch_at(0))


def masks_of(session: Session, steps: int) -> list[torch.Tensor]:
    """Which entries the first dropout layer keeps, in each step: it is given ones, and gives back zeros elsewhere."""
    layer = next(module for module in session.model.modules() if isinstance(module, torch.nn.Dropout) and module.p)
    masks: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        masks.append((output != 0) | (inputs[0] == 0))

    handle = layer.register_forward_hook(keep)
    for _ in zip(range(steps), training_steps(session), strict=False):
        pass
    handle.remove()
    return masks


def test_dropout_is_drawn_anew_in_every_step_and_again_in_the_same_step(texts: Path) -> None:
    """Each batch comes three times in a row, so that only the masks can differ between these steps."""
    first, second, third = masks_of(session_of(texts, dropout=0.5, repeats=3), 3)
    assert first.shape == second.shape == third.shape
    # Two independent masks at 0.5 agree in half of the entries; a seed that ignores the step makes them equal.
    for left, right in ((first, second), (second, third), (first, third)):
        assert 0.4 < (left == right).float().mean() < 0.6
    again = masks_of(session_of(texts, dropout=0.5, repeats=3), 3)
    assert all(torch.equal(left, right) for left, right in zip((first, second, third), again, strict=True))
    other = masks_of(session_of(texts, dropout=0.5, repeats=3, seed=1, order={"kind": "sequential"}), 1)
    same_order = masks_of(session_of(texts, dropout=0.5, repeats=3, order={"kind": "sequential"}), 1)
    assert not torch.equal(other[0], same_order[0])


def test_dropout_differs_between_micro_batches(texts: Path) -> None:
    first, second = masks_of(session_of(texts, dropout=0.5, accumulate=2), 1)
    rows, width = min(len(first), len(second)), min(first.shape[1], second.shape[1])
    assert 0.3 < (first[:rows, :width] == second[:rows, :width]).float().mean() < 0.7
