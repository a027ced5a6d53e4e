"""Every measure leaves the model, the training and each other exactly as they were."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.kinds import find
from ontogeny.core.measures import Context, Observation, StateMeasure, StreamMeasure
from ontogeny.core.passages import ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.looking.guard import untouched
from ontogeny.models.weights import effective_weights
from ontogeny.store.schema import check
from tests.measures.small import kinds_without_settings, make_autoencoder, make_context, random_probe

KINDS = [kind for kind in kinds_without_settings() if not find("ontogeny.measures", kind).live]
STREAMS = [kind for kind in KINDS if issubclass(find("ontogeny.measures", kind), StreamMeasure)]


@pytest.fixture
def model() -> Any:
    """The one that every measure can look at."""
    return make_autoencoder()


def measure_of(kind: str) -> Any:
    return find("ontogeny.measures", kind)()


def look(context: Context, kind: str) -> Observation:
    measure = measure_of(kind)
    if isinstance(measure, StreamMeasure):
        return run_stream_looks(context, [measure])[0][kind]
    assert isinstance(measure, StateMeasure)
    with untouched(context.model):
        return measure.look(context)


def in_training(model: Any) -> Any:
    """In training mode but for one block, one parameter frozen, with gradients of a batch on all others but one."""
    model.train()
    model.gpt_neox.layers[1].eval()
    model.gpt_neox.final_layer_norm.bias.requires_grad_(False)
    model(input_ids=torch.arange(20)[None]).logits.square().sum().backward()
    model.gpt_neox.final_layer_norm.weight.grad = None
    return model


def fingerprint_of(model: Any) -> list[Any]:
    numbers = np.random.get_state()
    return [
        {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()},
        [parameter.data_ptr() for parameter in model.parameters()],
        [None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()) for p in model.parameters()],
        [parameter.requires_grad for parameter in model.parameters()],
        [module.training for module in model.modules()],
        torch.get_rng_state().numpy().tobytes(),
        (numbers[1].tobytes(), numbers[2]),
        random.getstate(),
        model.config.to_dict(),
        model.generation_config.to_dict(),
    ]


def context_of(model: Any, probes: list[ProbeSet]) -> Context:
    other = effective_weights(make_autoencoder(seed=1))
    return make_context(model, probes, first_weights=lambda: other, previous_weights=lambda: other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_changes_nothing(kind: str, probes: list[ProbeSet]) -> None:
    model = in_training(make_autoencoder())
    before = fingerprint_of(model)
    seen = look(context_of(model, probes), kind)
    assert fingerprint_of(model) == before
    check(seen.arrays)
    assert seen.arrays.data_vars


def test_the_comparison_sees_each_kind_of_change() -> None:
    model = in_training(make_autoencoder())

    def train_a_step() -> None:
        torch.optim.SGD(model.parameters(), lr=0.1).step()

    changes = [
        train_a_step,
        model.zero_grad,
        lambda: model.get_input_embeddings().weight.requires_grad_(False),
        model.eval,
        lambda: torch.rand(1),
        np.random.rand,
        random.random,
    ]
    for change in changes:
        before = fingerprint_of(model)
        change()
        assert fingerprint_of(model) != before


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_as_if_nobody_had_looked(kind: str, probes: list[ProbeSet]) -> None:
    def weights_after(looks: bool) -> dict[str, bytes]:
        model = make_autoencoder().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        torch.manual_seed(7)
        for step in range(3):
            if looks and step:
                look(context_of(model, probes), kind)
            ids = torch.randint(0, 300, (2, 16))  # the order of data, drawn from the same generator as dropout
            optimizer.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
        return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}

    assert weights_after(looks=True) == weights_after(looks=False)


def test_what_is_seen_does_not_depend_on_who_else_looks(model: Any, probes: list[ProbeSet]) -> None:
    context = context_of(model, probes)
    together, _ = run_stream_looks(context, [measure_of(kind) for kind in STREAMS])
    for kind in STREAMS:
        alone = look(context, kind)
        assert alone.arrays.identical(together[kind].arrays), kind
        assert list(alone.samples) == list(together[kind].samples)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_look_twice_gives_the_same_bits(kind: str, model: Any, probes: list[ProbeSet]) -> None:
    first = look(context_of(model, probes), kind)
    torch.manual_seed(1234)
    second = look(context_of(model.train(), probes), kind)
    assert first.arrays.identical(second.arrays)
    assert list(first.samples) == list(second.samples)


@pytest.mark.parametrize("kind", KINDS)
def test_a_measure_looks_at_the_probe_sets_it_names(kind: str, model: Any, probes: list[ProbeSet]) -> None:
    cls = find("ontogeny.measures", kind)
    if "probes" not in cls.model_fields:
        pytest.skip("looks at weights, not at probe sets")
    both, one = look(context_of(model, probes), kind), look(context_of(model, probes[1:]), kind)
    measure = cls(probes=("novel",))
    context = context_of(model, probes)
    if isinstance(measure, StreamMeasure):
        named = run_stream_looks(context, [measure])[0][kind]
    else:
        with untouched(model):
            named = measure.look(context)  # type: ignore[attr-defined]
    assert named.arrays.identical(one.arrays)
    assert not named.arrays.identical(both.arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_every_measure_says_what_it_costs(kind: str) -> None:
    measure = measure_of(kind)
    assert len(measure.cost) > 20
    assert measure.group == kind
    assert all(field.description for field in type(measure).model_fields.values())


def test_probes_of_one_token_are_looked_at_without_error(model: Any) -> None:
    context = make_context(model, [random_probe("short", [1, 1])])
    for kind in KINDS:
        if kind != "generation":  # which says that there is nothing to continue
            check(look(context, kind).arrays)
