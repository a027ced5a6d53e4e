"""Sum of NLL over supervised tokens."""

from types import SimpleNamespace

import pytest
import torch

from ontogeny.objectives.terms.next_token import NextToken


def test_a_sum_over_supervised_tokens() -> None:
    nll = torch.tensor([[0.0, 1.0, 2.0], [0.0, 4.0, 8.0]])
    supervised = torch.tensor([[False, True, True], [False, True, False]])
    value, unit = NextToken().value(SimpleNamespace(nll=nll, supervised=supervised))
    # 1 + 2 + 4; the 8 is not supervised
    assert value.item() == pytest.approx(7.0)
    assert unit == "tokens"


def test_the_weight_is_one_unless_said() -> None:
    assert NextToken().weight.at(3, 10) == 1.0
