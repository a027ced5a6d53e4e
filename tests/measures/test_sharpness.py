"""The loss around the weights: against known matrices, the exact Hessian, and by hand."""

import numpy as np
import pytest
import torch

from ontogeny.core.errors import DataError
from ontogeny.data.collate import collate
from ontogeny.measures.sharpness import Sharpness, filter_normalised, loss_with_graph, power_iteration
from tests.measures.small import log_probabilities, make_context, make_model, random_probe


def test_power_iteration_finds_the_eigenvalue_of_largest_magnitude() -> None:
    """diag(1, -5, 3) has -5. The identity settles at once; zero is zero."""
    for diagonal, expected in (([1.0, -5.0, 3.0], -5.0), ([1.0, 1.0, 1.0], 1.0), ([0.0, 0.0, 0.0], 0.0)):
        matrix = torch.diag(torch.tensor(diagonal))
        value, settled = power_iteration(lambda v, m=matrix: [m @ v[0]], [torch.ones(3)], 100, 1e-6)
        assert value == pytest.approx(expected, abs=1e-3)
        assert settled


def test_few_iterations_are_said_not_to_have_settled() -> None:
    matrix = torch.diag(torch.tensor([1.0, 0.99, -0.98]))
    assert not power_iteration(lambda v: [matrix @ v[0]], [torch.tensor([0.1, 1.0, 1.0])], 2, 1e-9)[1]


def test_rows_of_a_direction_are_as_long_as_those_of_the_weights() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]])
    drawn = filter_normalised(weight, torch.Generator().manual_seed(0))
    assert drawn.norm(dim=1).tolist() == pytest.approx([5, 0, 2])
    assert not filter_normalised(torch.ones(4), torch.Generator()).any()


def test_the_eigenvalue_is_that_of_the_exact_hessian() -> None:
    """Of the final norm's 48 parameters alone: the whole Hessian, column by column, and its eigenvalues."""
    model, probe = make_model(dropout=0.0), random_probe("train", [20, 30])
    norm = model.gpt_neox.final_layer_norm
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    norm.weight.requires_grad_(True)
    norm.bias.requires_grad_(True)
    batch = collate(probe.passages, 0)
    model.eval()

    def loss(values: torch.Tensor) -> torch.Tensor:
        parameters = {"gpt_neox.final_layer_norm.weight": values[:24], "gpt_neox.final_layer_norm.bias": values[24:]}
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        logits = torch.func.functional_call(model, parameters, (), inputs).logits[:, :-1]
        counted = batch["supervised"][:, 1:]
        return torch.nn.functional.cross_entropy(logits[counted], batch["input_ids"][:, 1:][counted])

    hessian = torch.autograd.functional.hessian(loss, torch.cat([norm.weight, norm.bias]).detach())
    values = np.linalg.eigvalsh(hessian.numpy())
    expected = values[np.abs(values).argmax()]
    observed = Sharpness(iterations=2000, tolerance=1e-6).look(make_context(model, [probe])).arrays
    assert observed.converged.values[0]
    assert observed.top_eigenvalue.values[0] == pytest.approx(expected, rel=0.02)


def test_at_distance_zero_it_is_the_models_loss_and_the_weights_are_left_alone() -> None:
    model, probe = make_model(), random_probe("train", [20, 30])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    observed = Sharpness(iterations=2).look(make_context(model, [probe])).arrays
    nll = np.concatenate(
        [
            -log_probabilities(model, sequence.token_ids)[np.arange(len(sequence) - 1), sequence.token_ids[1:]]
            for sequence in probe.passages
        ]
    )
    assert observed.loss.sel(distance=0.0).values[0] == pytest.approx([nll.mean()] * 2, rel=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_loss_that_does_not_depend_on_the_weights_is_flat() -> None:
    """Logits that are always 0 but for a bias of nothing: ln 300 wherever one goes, and no curvature."""
    model, probe = make_model(), random_probe("train", [20])
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lm_head" not in name)
    observed = Sharpness().look(make_context(model, [probe])).arrays
    assert observed.loss.values == pytest.approx(np.log(300), rel=1e-6)
    assert observed.rise.values[0] == pytest.approx(0, abs=1e-6)
    assert observed.top_eigenvalue.values[0] == pytest.approx(0, abs=1e-6)


def test_distances_without_zero_are_one_line() -> None:
    with pytest.raises(DataError, match="must hold 0"):
        Sharpness(distances=(-1.0, 0.5, 1.0)).look(make_context(make_model(), [random_probe("train", [20])]))


def test_mean_nll_counts_supervised_tokens_alone() -> None:
    model, probe = make_model(), random_probe("train", [10, 6])
    batch = collate(probe.passages, 0)
    expected = [
        -log_probabilities(model, sequence.token_ids)[np.arange(len(sequence) - 1), sequence.token_ids[1:]]
        for sequence in probe.passages
    ]
    model.eval()
    with torch.no_grad():
        assert float(loss_with_graph(model, batch)) == pytest.approx(np.concatenate(expected).mean(), rel=1e-5)
