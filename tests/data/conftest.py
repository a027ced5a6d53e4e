"""A tokenizer in which every byte is a token, and recipes of which only the data matter."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ontogeny.core.corpora import Document
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_data import Data
from ontogeny.data.tokenizer import train_tokenizer

END = 0


@pytest.fixture(scope="session")
def byte_tokenizer() -> Any:
    """No merges: a token is a byte, and end-of-text is id 0."""
    tokenizer = train_tokenizer([""], 258)
    assert len(tokenizer) == 257
    return tokenizer


@pytest.fixture(scope="session")
def make_data() -> Callable[..., Data]:
    def make(**settings: Any) -> Data:
        defaults = {"corpora": {"c": {"kind": "python_prose"}}, "train": [{"of": "c/train"}], "min_length": 2}
        return Data.model_validate_json(json.dumps(defaults | settings))

    return make


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    def make(tokenizer: dict[str, Any] | None = None, **data: Any) -> Recipe:
        content = {"name": "x", "data": data, "model": "ladder", "tokenizer": tokenizer or {}}
        if data.get("train"):
            content["train"] = {"steps": 1}
        return Recipe.model_validate_json(json.dumps(content))

    return make


def documents(*texts: str) -> list[Document]:
    return [Document(text=text, source=f"d{i}") for i, text in enumerate(texts)]
