"""The outputs of each expert of a mixture, read one by one."""

import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.models.body_and_head import shape_of
from ontogeny.models.experts import expert_outputs, number_of_experts
from tests.objectives.terms.pairs import student
from tests.objectives.terms.test_routing import experts_teacher


def test_the_experts_outputs_are_really_read() -> None:
    """Of each expert by hand, from its own weights, on what the layer was given; and they add up to the layer's."""
    master = experts_teacher()
    ids = torch.arange(6)[None]
    layer = master.model.model.layers[-1]
    caught: list[torch.Tensor] = []
    with torch.no_grad():
        body = master.body_and_head.body
        handle = layer.mlp.register_forward_hook(lambda _, given, output: caught.extend([given[0], output]))
        own = expert_outputs(master.model, lambda: body(ids).last_hidden)
        handle.remove()
        gate_up, down = layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj
        for expert in range(4):
            gate, up = (caught[0][0] @ gate_up[expert].T).chunk(2, dim=-1)
            by_hand = (torch.nn.functional.silu(gate) * up) @ down[expert].T
            assert torch.allclose(own.outputs[0, :, expert], by_hand, atol=1e-4)
    assert own.outputs.shape == (1, 6, 4, 16)
    assert (own.weights > 0).sum(-1).tolist() == [[2] * 6]
    assert torch.allclose((own.weights[..., None] * own.outputs).sum(2), caught[1], atol=1e-4)


def test_shapes_count_experts() -> None:
    assert shape_of(experts_teacher().model).experts == 4
    assert shape_of(student()).experts == 0
    assert number_of_experts(student()) == 0


def test_models_whose_experts_cannot_be_read_are_refused() -> None:
    """Without experts; and with ones that square their sum, so that the parts do not add up to it."""
    plain, master = student(), experts_teacher()
    body = master.body_and_head.body
    with pytest.raises(OntogenyError, match="GPTNeoXForCausalLM has no experts"):
        expert_outputs(plain, lambda: body(torch.arange(6)[None]).last_hidden)
    master.model.model.layers[-1].mlp.experts.register_forward_hook(lambda _, given, output: output.square())
    with torch.no_grad(), pytest.raises(OntogenyError, match="do not add up"):
        expert_outputs(master.model, lambda: body(torch.arange(6)[None]).last_hidden)
