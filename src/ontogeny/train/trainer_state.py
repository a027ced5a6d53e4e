"""Save and restore the trainer's state exactly, in safetensors and JSON: nothing in it can execute.

What is saved is small: the optimizer's moments and the parameters that terms brought. Order, schedules and randomness
are functions of the step.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import StoreError
from ontogeny.train.session import Session

if TYPE_CHECKING:
    from torch import Tensor

_OPTIMIZER = "optimizer.safetensors"
TERMS_FILE = "terms.safetensors"
_STATE = "state.json"


def save_trainer(session: Session, folder: Path) -> None:
    """Write optimizer moments, term parameters and the step into `folder`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(_moments(session), folder / _OPTIMIZER)
    if len(session.modules):
        save_file({k: v.contiguous() for k, v in session.modules.state_dict().items()}, folder / TERMS_FILE)
    state = {"step": session.step, "processes": session.accelerator.num_processes}
    (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")


def restore_trainer(session: Session, folder: Path) -> None:
    """Bring optimizer moments, term parameters and step back. The model's weights are loaded with the model.

    Raises StoreError if the saved moments are not those of this model.
    """
    from safetensors.torch import load_file

    saved = load_file(folder / _OPTIMIZER, device=str(session.accelerator.device))
    parameters = _named(session)
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        name, _, moment = key.rpartition("//")
        states.setdefault(name, {})[moment] = tensor.clone()  # aligned, and no longer mapped from the file
    unknown = set(states) - set(parameters)
    if unknown:
        raise StoreError(f"{folder / _OPTIMIZER}: holds moments of '{min(unknown)}', which the model does not have")
    for name, moments in states.items():
        session.optimizer.state[parameters[name]] = moments
    session.objective.load_modules(folder / TERMS_FILE, session.accelerator.device)
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    session.step = state["step"]


def _named(session: Session) -> dict[str, Any]:
    named = {name: p for name, p in session.model.named_parameters() if p.requires_grad}
    return named | {f"terms.{name}": p for name, p in session.modules.named_parameters() if p.requires_grad}


def _moments(session: Session) -> "dict[str, Tensor]":
    moments = {}
    for name, parameter in _named(session).items():
        for moment, tensor in session.optimizer.state.get(parameter, {}).items():
            moments[f"{name}//{moment}"] = tensor.detach().contiguous()
    return moments
