"""Faults of saving and of going on, each beside the same loop without it."""

from typing import Any

import numpy as np
import torch

from tests.audit.judging import audited, clears, findings, findings_with, silent
from tests.audit.loops import VOCABULARY, Loop, make_model


class Scaled(torch.nn.Module):
    """An output embedding whose scale is a plain tensor: part of the model, and not of what it saves."""

    def __init__(self, inner: torch.nn.Module, scale: float) -> None:
        super().__init__()
        self.weight = inner.weight
        self.scale = torch.tensor(scale)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.nn.functional.linear(hidden, self.weight)


def test_a_part_of_the_model_that_is_not_saved() -> None:
    def scaled(scale: float) -> Loop:
        model = make_model()
        model.set_output_embeddings(Scaled(model.get_output_embeddings(), scale))
        return Loop(model=model)

    assert set(findings(scaled(3.0))) == {"saved_model_differs"}
    silent(audited(scaled(1.0)), "saved_model_differs")  # what is not saved is of no effect


def test_a_model_that_does_not_load() -> None:
    def headed(tokens: int) -> Loop:
        model = make_model()
        model.set_output_embeddings(torch.nn.Linear(16, tokens, bias=False))
        return Loop(model=model)

    found = findings(headed(VOCABULARY + 4))  # four more tokens than the config says
    assert "does not load" in found["saved_model_differs"].statement
    silent(audited(headed(VOCABULARY)), "saved_model_differs")


def test_saving_leaves_the_config_as_it_was() -> None:
    model = make_model()
    before = dict(vars(model.config))
    clears(Loop(model=model))
    assert vars(model.config) == before


def order(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(48).reshape(12, 4)


def test_a_resume_that_begins_the_epoch_again() -> None:
    def watch(audit: Any, at: int) -> Any:
        return audit.watch(ids=order(0)[at]) if at < 12 else None

    found = findings_with(Loop(), watch, next_batch_after=lambda step: order(0)[0])
    assert set(found) == {"resume_sees_other_batches"}
    # Of the 8 steps that are asked, from 0 to 11, only the first begins an epoch.
    assert found["resume_sees_other_batches"].numbers == {"steps": 8, "differ": 7}
    silent(audited(Loop(), watch, next_batch_after=lambda step: order(0)[step]), "resume_sees_other_batches")
