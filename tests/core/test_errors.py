import importlib.util
import tomllib
from pathlib import Path

import pytest

from ontogeny.core import errors
from ontogeny.core.errors import MissingExtraError, OntogenyError, RunFailedError, closest, require_training_extra


def test_closest_names_the_near_one() -> None:
    assert closest("epoch", ["steps", "epochs", "tokens"]) == "did you mean 'epochs'?"


def test_closest_lists_all_when_none_is_near() -> None:
    assert closest("banana", ["steps", "epochs"]) == "known: epochs, steps"


def test_closest_sorts_numbers_as_numbers() -> None:
    assert closest("7", ["0", "12", "18", "6"]) == "known: 0, 6, 12, 18"
    assert closest("7", ["0", "12", "x"]) == "known: 0, 12, x"


def test_closest_without_choices() -> None:
    assert closest("banana", []) == "nothing is known here"


def test_exit_codes_tell_wrong_use_from_a_failed_run() -> None:
    assert OntogenyError.exit_code == 2
    assert RunFailedError.exit_code == 3


def test_missing_extra_is_one_line_that_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    present = importlib.util.find_spec
    absent = {"torch", "accelerate"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else present(name))
    with pytest.raises(MissingExtraError) as caught:
        require_training_extra("ontogeny run")
    line = "ontogeny run needs torch, accelerate: install the training extra with  pip install 'ontogeny[train]'"
    assert str(caught.value) == line


def test_every_module_of_the_extra_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    described = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extra = {line.split(">=")[0] for line in described["project"]["optional-dependencies"]["train"]}
    with pytest.raises(MissingExtraError) as caught:
        require_training_extra("ontogeny run")
    assert set(str(caught.value).split(" needs ")[1].split(": ")[0].split(", ")) == extra


def test_extra_that_is_there_is_no_error() -> None:
    errors.require_training_extra("ontogeny run")
