"""`ontogeny audit`: a recipe's first steps, a post-mortem, pages and exit codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ontogeny.integrations.audit.report import Report
from ontogeny.integrations.audit.stories import story as telling
from ontogeny.integrations.audit.stories.story import Story, Table, Telling
from tests.small_runs import write_text
from tests.verbs.conftest import Call
from tests.verbs.test_cli import RECIPE


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_text(tmp_path / "words")
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(texts=tmp_path / "words" / "*.txt"))
    return path


def test_a_sound_recipe_is_clear_and_leaves_nothing(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    found = ontogeny("audit", recipe, "train.dropout=0.1", "--runs", tmp_path / "runs", "--json", "--fail-on", "note")
    assert found.code == 0
    said = found.json()
    assert said["findings"] == []
    assert said["mishaps"] == []
    assert set(said["clear"]) >= {
        "no_optimizer_step",
        "tensors_do_not_move",
        "backwards_per_step",
        "label_shift",
        "total_is_the_sum",
        "evaluation_leaves_alone",
        "perplexity_of_nll",
        "special_ids_agree",
        "learning_rate_shown",
    }
    assert "the first 6 of 6 steps of tiny" in found.err
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_a_learning_rate_of_zero_fails(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    settings = ("train.lr=0.0", "train.steps=8", "train.accumulate=2")
    found = ontogeny("audit", recipe, *settings, "-v", "-q", "--fail-on", "error", "--page", page)
    assert found.code == 1
    assert "ERROR  The learning rate is 0 in all of 7 steps." in found.out
    assert "threshold: " in found.out
    assert "The learning rate is 0 in all of 7 steps" in page.read_text()
    skipped = ontogeny("audit", recipe, *settings, "-q", "--skip", "learning_rate_zero", "--fail-on", "error")
    assert skipped.code == 0


def test_a_story_with_its_page(ontogeny: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def told(name: str, tell: Callable[[str], None]) -> Story:
        tell(f"telling {name}")
        one: dict[str, Any] = {
            "columns": ("step", "loss"),
            "rows": (("1", "2.5"),),
            "series": (("loss", (1.0,), (2.5,)),),
            "report": Report(verdicts=()),
        }
        return Story(
            name="x",
            title="It was so",
            about="Something.",
            concluded=("It was <otherwise>.",),
            was_so="So.",
            as_it_was=Telling(title="As it was", **one),
            mended=Telling(title="Mended", **one),
            table=Table(title="Compared", columns=("fault", "found"), rows=(("a <fault>", "its check"),)),
        )

    monkeypatch.setattr("ontogeny.verbs.audit.tell_story", told)
    found = ontogeny("audit", "postmortem/x", "--page", tmp_path)
    assert found.code == 0
    assert "It was <otherwise>." in found.out
    assert "telling postmortem/x" in found.err
    page = (tmp_path / "audit.html").read_text()
    assert "It was &lt;otherwise&gt;." in page
    assert "<script" not in page
    assert "<td>a &lt;fault&gt;</td><td>its check</td>" in page
    assert "a <fault>\n      found: its check" in found.out
    plain = ontogeny("audit", "postmortem/x", "--json", "-q").json()
    assert plain["as_it_was"]["log"] == [{"step": "1", "loss": "2.5"}]
    assert plain["table"] == [{"fault": "a <fault>", "found": "its check"}]


def test_wrong_use_is_one_line(ontogeny: Call, recipe: Path) -> None:
    assert set(telling.stories()) <= set(ontogeny("audit").err.replace(":", " ").split())
    for arguments, said in (
        (("audit", "postmortem/nothing"), "no story 'postmortem/nothing'"),
        (("audit", recipe, "--skip", "lable_shift"), "did you mean 'label_shift'"),
        (("audit", recipe, "--fail-on", "grave"), "write one of error, warning, note"),
    ):
        found = ontogeny(*arguments)
        assert (found.code, said in found.err) == (2, True)


def test_what_does_not_train_and_what_breaks_off(ontogeny: Call, recipe: Path) -> None:
    nan = ontogeny("audit", recipe, "train.lr=1e30", "-q")
    assert (nan.code, "loss is " in nan.err or "gradient norm is " in nan.err) == (3, True)
    text = recipe.read_text()
    for part in ("train: {steps: 6, batch: 6, lr: 0.01}\n", "  train:\n    - {of: words/train}\n"):
        text = text.replace(part, "")
    recipe.write_text(text.replace("checkpoints: {every_steps: 3}\n", ""))
    idle = ontogeny("audit", recipe, "-q")
    assert (idle.code, "it trains nothing" in idle.err) == (2, True)


def test_all_checks_are_listed_with_their_cost(ontogeny: Call) -> None:
    listed = ontogeny("audit", "--checks").out
    assert "reference_in_prompt: The reference stands in the prompt" in listed
    assert "      costs " in listed
