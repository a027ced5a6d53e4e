"""Save and restore the trainer's state exactly, in safetensors and JSON: nothing in it can execute.

That is little: the optimizer's state by parameter, and the parameters that terms brought. Order, schedules and
randomness are functions of the step.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import StoreError
from ontogeny.train.session import Session

if TYPE_CHECKING:
    from torch import Tensor, nn

_OPTIMIZER = "optimizer.safetensors"
TERMS_FILE = "terms.safetensors"
_STATE = "state.json"


def save_trainer(session: Session, folder: Path) -> None:
    """Write the optimizer's state, term parameters and the step into `folder`.

    Raises StoreError for an optimizer whose state holds anything but tensors and numbers.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(_moments(session), folder / _OPTIMIZER)
    if len(session.modules):
        save_file({k: v.contiguous() for k, v in session.modules.state_dict().items()}, folder / TERMS_FILE)
    state: dict[str, Any] = {"step": session.step, "processes": session.accelerator.num_processes}
    numbers = _numbers(session)
    if numbers:
        state["numbers"] = numbers
    (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")


def restore_trainer(session: Session, folder: Path) -> None:
    """Restore optimizer state, term parameters and step. The model's weights are loaded with the model.

    Raises StoreError if the saved moments are not those of this model.
    """
    from safetensors.torch import load_file

    saved = load_file(folder / _OPTIMIZER, device=str(session.accelerator.device))
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    parameters = _named(session)
    states: dict[str, dict[str, Tensor | float]] = {}
    for key, value in {**saved, **state.get("numbers", {})}.items():
        name, _, moment = key.rpartition("//")
        # a clone is aligned in memory, and no longer mapped from the file
        states.setdefault(name, {})[moment] = value.clone() if key in saved else value
    unknown = set(states) - set(parameters)
    if unknown:
        raise StoreError(f"{folder / _OPTIMIZER}: holds moments of '{min(unknown)}', which the model does not have")
    for name, moments in states.items():
        session.optimizer.state[parameters[name]] = moments
    session.objective.load_modules(folder / TERMS_FILE, session.accelerator.device)
    session.step = state["step"]


def _named(session: Session) -> "dict[str, nn.Parameter]":
    named = {name: p for name, p in session.model.named_parameters() if p.requires_grad}
    return named | {f"terms.{name}": p for name, p in session.modules.named_parameters() if p.requires_grad}


def _moments(session: Session) -> "dict[str, Tensor]":
    import torch

    values = _state_values(session)
    return {key: value.detach().contiguous() for key, value in values.items() if isinstance(value, torch.Tensor)}


def _numbers(session: Session) -> dict[str, float]:
    """What is no tensor; JSON keeps every bit of a finite number."""
    import torch

    numbers = {key: value for key, value in _state_values(session).items() if not isinstance(value, torch.Tensor)}
    for key, value in numbers.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise StoreError(
                f"the optimizer's state '{key}' is {value!r}: only tensors and finite numbers can be saved"
            )
    return numbers


def _state_values(session: Session) -> dict[str, Any]:
    """The optimizer's state as `<parameter>//<name>`; entries that are None, such as a moment not used, left out."""
    return {
        f"{name}//{entry}": value
        for name, parameter in _named(session).items()
        for entry, value in session.optimizer.state.get(parameter, {}).items()
        if value is not None
    }
