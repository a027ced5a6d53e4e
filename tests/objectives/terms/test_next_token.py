"""Sum of NLL over supervised tokens, with and without smoothing."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ontogeny.core.recipe_file import validate
from ontogeny.objectives.terms.next_token import NextToken
from tests.small_runs import tree


def test_a_sum_over_supervised_tokens() -> None:
    nll = torch.tensor([[0.0, 1.0, 2.0], [0.0, 4.0, 8.0]])
    supervised = torch.tensor([[False, True, True], [False, True, False]])
    value, unit = NextToken().value(SimpleNamespace(nll=nll, supervised=supervised))
    # 1 + 2 + 4; the 8 is not supervised
    assert value.item() == pytest.approx(7.0)
    assert unit == "tokens"


def test_the_weight_is_one_unless_said() -> None:
    assert NextToken().weight.at(3, 10) == 1.0


def test_smoothing_by_hand() -> None:
    """P = (1/2, 1/4, 1/4), the token is id 0, e = 0.3: 0.7 ln 2 + 0.1 (ln 2 + ln 4 + ln 4). The plain NLL is ln 2."""
    logits = torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]]).log()
    forward = SimpleNamespace(
        input_ids=torch.tensor([[1, 0]]),
        supervised=torch.tensor([[False, True]]),
        logits=logits,
        nll=torch.tensor([[0.0, math.log(2)]]),
    )
    term = NextToken(label_smoothing=0.3)
    value, unit = term.value(forward)
    assert value.item() == pytest.approx(0.7 * math.log(2) + 0.1 * (math.log(2) + 2 * math.log(4)), rel=1e-6)
    assert unit == "tokens"
    assert term.tell(value, forward)["nll"].item() == pytest.approx(math.log(2))
    assert term.details == ("nll",)
    assert not term.is_plain_nll


def test_without_smoothing_logits_are_not_asked_for() -> None:
    assert NextToken().needed == {"nll"}
    assert NextToken().details == ()
    assert NextToken().is_plain_nll
    assert NextToken(label_smoothing=0.1).needed == {"nll", "logits"}


def test_smoothing_counts_in_a_recipes_hash_only_where_it_is_used() -> None:
    """So recipes from before there was any keep their hashes (tests/golden holds those of the shipped ones)."""
    terms = [
        "next_token",
        {"kind": "next_token", "label_smoothing": 0.0},
        {"kind": "next_token", "label_smoothing": 0.1},
    ]
    hashes = [validate(tree(Path("none"), objective=[term]), "test").train_hash for term in terms]
    assert hashes[0] == hashes[1] != hashes[2]
