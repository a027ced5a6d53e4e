"""What became of trained batches, beside the same losses computed one passage at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe_file import validate
from ontogeny.data.prepare import prepare
from ontogeny.measures.ledger import Ledger
from ontogeny.models.build import load_checkpoint
from ontogeny.runs.execute import execute
from ontogeny.store.run import Run, open_run
from ontogeny.train.session import open_session
from tests.measures.small import make_context, make_model
from tests.small_runs import interrupt_and_resume, tree, write_text


def _content(folder: Path, **train: Any) -> dict[str, Any]:
    content = tree(write_text(folder / "words"), measures=[{"kind": "ledger", "share": 0.5}])
    content["train"] |= train
    return content


def _batches(run: Run, content: dict[str, Any]) -> dict[int, list[Any]]:
    """The passages of every batch, by a plan made anew."""
    recipe = validate(content, "test")
    prepared = prepare(recipe)
    session = open_session(recipe, model=make_model(), tokenizer=prepared.tokenizer, examples=prepared.examples)
    repeats = recipe.train.repeats if recipe.train else 1
    return {n: [prepared.examples[i] for i in session.plan.batch_at(n * repeats)] for n in range(12)}


def _by_hand(run: Run, step: int, batch: list[Any]) -> float:
    """Mean NLL of a batch at a checkpoint, one passage at a time."""
    checkpoint = next(checkpoint for checkpoint in run.checkpoints if checkpoint.step == step)
    model = load_checkpoint(checkpoint.model_path, run.path / "base").eval()
    total, count = 0.0, 0
    for passage in batch:
        ids = torch.tensor(passage.token_ids, dtype=torch.int64)[None]
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids).loss) * (len(passage) - 1)
        count += len(passage) - 1
    return total / count


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_losses_of_sampled_batches(tmp_path: Path, dropout: float) -> None:
    """At checkpoints, and around a batch's step where a checkpoint stands on either side of it."""
    content = _content(tmp_path, dropout=dropout, lr=0.02)
    content["checkpoints"] = {"every_steps": 1}
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
    ledger = run.measure("ledger")
    numbers = ledger.batch.values.tolist()
    assert numbers == [n for n in range(12) if Ledger(share=0.5).samples(n)]
    assert 2 <= len(numbers) <= 10
    batches = _batches(run, content)
    for step in (0, 5, 12):
        at = int(np.flatnonzero(ledger.step.values == step)[0])
        expected = [_by_hand(run, step, batches[n]) for n in numbers]
        assert ledger["nll"].values[at] == pytest.approx(expected, abs=1e-5)
    before, after = (run.series(f"ledger_{name}", "train") for name in ("before", "after"))
    assert before["step"].tolist() == after["step"].tolist() == numbers
    for n, b, a in zip(numbers, before["value"], after["value"], strict=True):
        assert b == pytest.approx(_by_hand(run, n, batches[n]), abs=1e-5)
        assert a == pytest.approx(_by_hand(run, n + 1, batches[n]), abs=1e-5)
    assert (after["value"].to_numpy() < before["value"].to_numpy()).mean() > 0.7  # a step helps on its own batch


def test_training_does_not_notice(tmp_path: Path) -> None:
    content = _content(tmp_path, dropout=0.1)
    with_it = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "with"))
    without = open_run(execute(validate(content | {"measures": []}, "test"), runs_dir=tmp_path / "without"))
    assert [c.manifest["files"] for c in with_it.checkpoints] == [c.manifest["files"] for c in without.checkpoints]


@pytest.mark.slow
def test_repeats_of_a_batch_are_one_batch_each_time_recorded(tmp_path: Path) -> None:
    content = _content(tmp_path, repeats=3)
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
    numbers = run.measure("ledger").batch.values
    steps = run.series("ledger_after", "train")["step"].to_numpy()
    assert steps.tolist() == [3 * n + repeat for n in numbers for repeat in range(3)]


@pytest.mark.slow
def test_an_interrupted_run_has_the_same_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = validate(_content(tmp_path, dropout=0.1), "test")
    whole = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 6, monkeypatch)
    for name in ("before", "after"):
        left, right = (run.series(f"ledger_{name}", "train")[["step", "value"]] for run in (whole, parts))
        assert left.to_numpy().tolist() == right.to_numpy().tolist()
    assert whole.measure("ledger").load().identical(parts.measure("ledger").load())


@pytest.mark.slow
def test_place_and_content_of_batches(tmp_path: Path) -> None:
    """One passage a step, the same random order in all three epochs: batch n + 22 is batch n again."""
    content = _content(tmp_path, batch=1, accumulate=1, order="cyclic")
    content["measures"] = [{"kind": "ledger", "share": 1.0, "at": {"steps": [0, 66]}}]
    ledger = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs")).measure("ledger")
    place, first = ledger["place"].values[0], ledger["content"].values[0]
    assert sorted(place[:22]) == list(range(22))
    assert place[:22].tolist() != list(range(22))
    assert np.array_equal(place[22:44], place[:22])
    assert first.tolist() == [*range(22)] * 3
    assert np.array_equal(ledger["nll"].values[:, 22:44], ledger["nll"].values[:, :22])


@pytest.mark.slow
def test_new_text_alone(tmp_path: Path) -> None:
    """Half of each batch of six is replayed: only the three new passages are looked at, before, after and later."""
    content = _content(tmp_path, dropout=0.0, accumulate=1)
    content["data"]["replay"] = {"old": {"of": "words/novel", "share": 0.5}}
    content["measures"] = [{"kind": "ledger", "share": 1.0, "only_new": True}]
    content["checkpoints"] = {"every_steps": 1}
    recipe = validate(content, "test")
    run = open_run(execute(recipe, runs_dir=tmp_path / "runs"))
    prepared = prepare(recipe)
    session = open_session(
        recipe, model=make_model(), tokenizer=prepared.tokenizer, examples=prepared.examples, replay=prepared.replay
    )
    ledger, after = run.measure("ledger"), run.series("ledger_after", "train")
    before = run.series("ledger_before", "train")
    for n in (0, 5, 11):
        ids = session.plan.batch_at(n)
        assert (ids < 22).tolist() == [True] * 3 + [False] * 3
        new = [prepared.examples[i] for i in ids[:3]]
        at = int(np.flatnonzero(ledger.step.values == 12)[0])
        assert ledger["nll"].values[at][n] == pytest.approx(_by_hand(run, 12, new), abs=1e-5)
        assert ledger["size"].values[at][n] == sum(len(passage) - 1 for passage in new)
        assert ledger["place"].values[at][n] == ids[:3].mean()
        assert before["value"][n] == pytest.approx(_by_hand(run, n, new), abs=1e-5)
        assert after["value"][n] == pytest.approx(_by_hand(run, n + 1, new), abs=1e-5)


def test_a_share_is_a_share() -> None:
    """10,000 batches at 0.1: standard deviation 0.003. Another seed, other batches."""
    ledger, other = Ledger(share=0.1), Ledger(share=0.1, seed=1)
    chosen = np.array([ledger.samples(n) for n in range(10_000)])
    assert chosen.mean() == pytest.approx(0.1, abs=0.012)
    assert (chosen != [other.samples(n) for n in range(10_000)]).any()
    assert all(Ledger(share=1.0).samples(n) for n in range(100))


def test_it_needs_training() -> None:
    with pytest.raises(OntogenyError, match="'ledger' needs the training itself"):
        Ledger().look(make_context(make_model(), []))
