"""The direction of an optimizer's next step, read from its state and the gradients without taking the step."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ontogeny.core.optimizers import DirectionUnknownError, Update, rate_factor

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


def update_direction(optimizer: "Optimizer") -> Update:
    """What a torch optimizer's next step adds to each tensor with a gradient, per unit of learning rate.

    Adam and AdamW: -m / (sqrt(v) + eps), both corrected for bias; SGD: minus the (Nesterov) momentum; Muon: minus the
    orthogonalized momentum times its adjustment for the shape. Decoupled decay adds -decay x tensor, L2 decay is in the
    gradient. The factors of a group (`core.optimizers.rate_factor`) multiply it all. The optimizer is only read.
    Raises DirectionUnknownError for any other optimizer.
    """
    import torch

    families = {torch.optim.Adam: _adam, torch.optim.AdamW: _adam, torch.optim.SGD: _sgd, torch.optim.Muon: _muon}
    direction = families.get(type(optimizer))
    if direction is None:
        known = ", ".join(family.__name__ for family in families)
        raise DirectionUnknownError(
            f"what {type(optimizer).__name__} will do at another learning rate is not known: only {known} are"
        )
    update: Update = []
    with torch.no_grad():
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    gradient = -p.grad if group.get("maximize") else p.grad
                    u = direction(p, gradient, optimizer.state.get(p, {}), group)
                    update.append((p, u * rate_factor(group)))
    return update


def _adam(p: "Tensor", gradient: "Tensor", state: Mapping[str, Any], group: Mapping[str, Any]) -> "Tensor":
    import torch

    (beta1, beta2), decay = group["betas"], group["weight_decay"]
    decoupled = group.get("decoupled_weight_decay", False)
    if decay and not decoupled:
        gradient = gradient + decay * p
    step = float(state.get("step", 0)) + 1
    first = beta1 * state.get("exp_avg", torch.zeros_like(p)) + (1 - beta1) * gradient
    second = beta2 * state.get("exp_avg_sq", torch.zeros_like(p)) + (1 - beta2) * gradient * gradient
    if group["amsgrad"]:
        second = torch.maximum(state.get("max_exp_avg_sq", torch.zeros_like(p)), second)
    u = -(first / (1 - beta1**step)) / ((second / (1 - beta2**step)).sqrt() + group["eps"])
    return u - decay * p if decay and decoupled else u


def _sgd(p: "Tensor", gradient: "Tensor", state: Mapping[str, Any], group: Mapping[str, Any]) -> "Tensor":
    if group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * p
    momentum = group["momentum"]
    if not momentum:
        return -gradient
    before = state.get("momentum_buffer")
    buffer = gradient if before is None else momentum * before + (1 - group["dampening"]) * gradient
    return -(gradient + momentum * buffer if group["nesterov"] else buffer)


def _muon(p: "Tensor", gradient: "Tensor", state: Mapping[str, Any], group: Mapping[str, Any]) -> "Tensor":
    """A step of Muon itself at rate 1 and without decay, on a copy that starts at 0: the copy then is the direction."""
    import torch

    copy = torch.nn.Parameter(torch.zeros_like(p))
    copy.grad = gradient
    settings = ("momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")
    muon = torch.optim.Muon([copy], lr=1.0, weight_decay=0.0, **{name: group[name] for name in settings})
    if "momentum_buffer" in state:
        muon.state[copy]["momentum_buffer"] = state["momentum_buffer"].clone()
    muon.step()
    return copy.detach() - group["weight_decay"] * p
