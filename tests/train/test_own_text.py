"""What the student writes: whose prompts, how many rows, which targets; the same again after a resume."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import DataError, RecipeError
from ontogeny.core.passages import Passage
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.objectives.terms.next_token import NextToken
from ontogeny.runs.execute import execute
from ontogeny.runs.materials import gather, open_training, refuse_missing
from ontogeny.store.run import open_run
from ontogeny.train.live_training import LiveSession
from ontogeny.train.loop import step_gradients
from ontogeny.train.own_text import passages_of_step
from ontogeny.train.session import Session, check_own_text
from tests.small_runs import differences, interrupt_and_resume, texts, tree

__all__ = ["texts"]
TERMS = [{"kind": "next_token", "weight": 0.5}, {"kind": "kd", "weight": 0.5, "divergence": "reverse"}]


def own_recipe(folder: Path, *, own: dict[str, Any] | None, **changes: Any) -> Recipe:
    """Six steps of six rows; dropout is on, so that sampling in training mode would be noticed."""
    content = tree(folder, objective=TERMS, companions={"teacher": {"kind": "ladder", "size": "pico"}})
    content["train"] = {"steps": 6, "batch": 6, "dropout": 0.1, "lr": {"value": 0.01}, **changes.pop("train", {})}
    if own is not None:
        content["train"]["on_policy"] = own
    content["checkpoints"] = {"every_steps": 2}
    return validate(content | {"measures": ["evaluation"]} | changes, "test")


def session_of(recipe: Recipe) -> Session:
    return open_training(gather(recipe, Path("nowhere"), refuse_missing), Path("nowhere"), {})


def of_data(session: Session) -> list[Passage]:
    return [session.examples[i] for i in session.plan.batch_at(session.step)]


def test_a_stated_share_of_rows_is_written_after_the_prompts_of_the_data(texts: Path) -> None:
    """0.25 of 6 rows is 1.5 a step: 1, 2, 1 rows. The fourth batch has the last 4 of 22 passages: 1 row is a quarter.

    All others are the data's own passages.
    """
    session = session_of(own_recipe(texts, own={"share": 0.25, "prompt": 6}))
    counts = []
    for step in range(4):
        session.step = step
        batch, data = passages_of_step(session), of_data(session)
        written = [(ours, theirs) for ours, theirs in zip(batch, data, strict=True) if ours is not theirs]
        counts.append(len(written))
        for ours, theirs in written:
            assert ours.token_ids[:6].tolist() == theirs.token_ids[:6].tolist()
            assert 0 < ours.written == len(ours) - 6 <= len(theirs) - 6
            assert ours.supervised.tolist() == [False] * 6 + [True] * ours.written
            assert len(ours.byte_offsets) == len(ours) + 1
            assert (np.diff(ours.byte_offsets) >= 0).all()
    assert counts == [1, 2, 1, 1]


def test_without_on_policy_the_batch_is_the_data(texts: Path) -> None:
    session = session_of(own_recipe(texts, own=None))
    assert all(ours is theirs for ours, theirs in zip(passages_of_step(session), of_data(session), strict=True))


def test_it_writes_what_the_model_says(texts: Path) -> None:
    """At a temperature near 0 sampling is greedy: each token is the most probable one of a pass without cache."""
    session = session_of(own_recipe(texts, own={"share": 1.0, "prompt": 6, "temperature": 1e-4}))
    before = torch.random.get_rng_state()
    batch = passages_of_step(session)
    assert torch.equal(before, torch.random.get_rng_state()), "torch's generator is left as it was"
    session.model.eval()
    for passage in batch:
        ids = torch.tensor(passage.token_ids, dtype=torch.int64)[None]
        with torch.no_grad():
            likely = session.model(input_ids=ids).logits[0, 5:-1].argmax(-1)
        assert likely.tolist() == passage.token_ids[6:].tolist()


def test_drawn_by_step_and_seed_and_by_the_weights(texts: Path) -> None:
    own = {"share": 1.0, "prompt": 6}
    session, again = (session_of(own_recipe(texts, own=own)) for _ in range(2))

    def ids(of: Session) -> list[list[int]]:
        return [passage.token_ids.tolist() for passage in passages_of_step(of)]

    first = ids(session)
    assert ids(again) == first
    assert LiveSession(again).next_batch().passages[0].token_ids.tolist() == first[0]
    with torch.no_grad():
        for p in again.model.parameters():
            p.mul_(1.5)
    assert ids(again) != first


def test_next_token_does_not_learn_own_text_and_kd_does(texts: Path) -> None:
    """All rows are own: next_token has no target and is 0; with own_text it has, and its unit counts all of them."""
    own = {"share": 1.0, "prompt": 6}
    told = step_gradients(session_of(own_recipe(texts, own=own))).told
    assert told["next_token"] == 0
    assert told["kd"] > 0
    terms = [{**TERMS[0], "own_text": True}, TERMS[1]]
    assert step_gradients(session_of(own_recipe(texts, own=own, objective=terms))).told["next_token"] > 1


def test_given_text_is_counted_alone(texts: Path) -> None:
    """next_token is the mean over the data's own tokens: computed here by a forward pass over the untouched rows."""
    session = session_of(own_recipe(texts, own={"share": 0.5, "prompt": 6}, train={"dropout": 0.0}))
    batch = passages_of_step(session)
    total, count = 0.0, 0
    for passage in batch:
        if not passage.written:
            ids = torch.tensor(passage.token_ids, dtype=torch.int64)[None]
            with torch.no_grad():
                total += float(session.model(input_ids=ids, labels=ids).loss) * (len(passage) - 1)
            count += len(passage) - 1
    taken = step_gradients(session)
    assert 0 < sum(passage.written for passage in batch) == taken.told["written_tokens"]
    assert taken.told["next_token"] == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("accumulate", [3, 6])
def test_accumulation_changes_nothing(texts: Path, accumulate: int) -> None:
    """Of 6 micro-batches of one row, three are of the data alone: next_token's unit is the step's all the same."""
    whole, cut = (
        step_gradients(session_of(own_recipe(texts, own={"share": 0.5, "prompt": 6}, train=train)))
        for train in ({"dropout": 0.0}, {"dropout": 0.0, "accumulate": accumulate})
    )
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    for told in ("kd", "next_token", "written_tokens"):
        assert cut.told[told] == pytest.approx(whole.told[told], rel=1e-5)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = own_recipe(texts, own={"share": 0.5, "prompt": 6})
    path = execute(recipe, runs_dir=tmp_path / "whole")
    assert differences(path, interrupt_and_resume(recipe, tmp_path / "again", 5, monkeypatch).path) == []
    assert (open_run(path).series("written_tokens", "train")["value"] > 0).all()


def test_what_nobody_reads_is_not_written(texts: Path) -> None:
    own = {"share": 0.5, "prompt": 6}
    with pytest.raises(RecipeError, match="no loss term learns from what the student writes"):
        own_recipe(texts, own=own, objective=["next_token"], companions={})
    with pytest.raises(RecipeError, match="leaves nothing to write"):
        own_recipe(texts, own={"share": 0.5, "prompt": 24})
    assert NextToken(own_text=True).reads_own_text
    recipe = own_recipe(texts, own=None)
    assert "on_policy" not in recipe.as_json()["train"]
    assert own_recipe(texts, own=own).train_hash != recipe.train_hash


def test_a_teacher_with_other_tokens_is_refused(texts: Path) -> None:
    session = session_of(own_recipe(texts, own={"share": 0.5, "prompt": 6}))
    check_own_text(session.train, session.objective, session.examples)
    teacher = session.objective.companions["teacher"]
    session.objective.companions["teacher"] = replace(teacher, tokenizer=session.tokenizer)
    with pytest.raises(DataError, match="'teacher' has a tokenizer of its own"):
        check_own_text(session.train, session.objective, session.examples)


@pytest.mark.parametrize(("prompt", "refused"), [(15, False), (16, True)])
def test_passages_shorter_than_the_prompt_are_refused_before_training(
    tmp_path: Path, prompt: int, refused: bool
) -> None:
    """Documents of one letter sixteen times: passages of at most 16 tokens where data.length is 24.

    Nothing would ever be written after a prompt of 16, and a share of 0 would be reported as if it had been asked for.
    """
    folder = tmp_path / "short"
    folder.mkdir()
    for letter in "abcdefghijklmnopqrstuvwxyz":
        (folder / f"{letter}.txt").write_text(letter * 16, encoding="utf-8")
    content = own_recipe(folder, own={"share": 0.5, "prompt": prompt}).model_dump(mode="json")
    content["data"] |= {"train": [{"of": "words/train"}], "probes": {"novel": {"of": "words/novel"}}}
    content["tokenizer"] = {"vocab_size": 259}
    recipe = validate(content, "test")
    if refused:
        with pytest.raises(DataError, match=r"train\.on_policy\.prompt: a prompt of 16.*longest passage .* has 16"):
            session_of(recipe)
    else:
        assert session_of(recipe).examples
