"""Saves the model and loads it again, as far as that can be done without knowing how its author does it."""

import contextlib
import copy
import io
import tempfile
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from ontogeny.integrations.audit.observed import OutputDifference, Reruns

MOST_PARAMETERS = 1_000_000_000
"""Of a model that is copied, saved and loaded."""
MOST_NUMBERS = 4_000_000
"""Of tensors beside parameters and saved buffers that are kept from the start."""
Nll = Callable[[Any], np.ndarray]
"""NLL of the kept batch's tokens by a model."""


class Reloading:
    """Three ways: `from_pretrained`, an adapter on its base, and `state_dict` into a copy of the model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._beside: dict[tuple[str, str], Any] = {}

    def begin(self) -> None:
        """Keep copies of tensors that a `state_dict` does not hold: buffers that are not saved, plain attributes."""
        numbers = 0
        for name, module in self.model.named_modules():
            for key, tensor in _beside(module):
                numbers += tensor.numel()
                if numbers <= MOST_NUMBERS:
                    self._beside[name, key] = tensor.detach().clone()

    def reload(self, found: Reruns, live: np.ndarray, trained: Collection[str], nll: Nll, tolerance: float) -> None:
        """Compare the NLL of what was loaded with `live`. `trained`: names of tensors that training has moved."""
        model = self.model
        if not copied_again(model):
            found.reload_lacks = f"a model of at most {MOST_PARAMETERS:.0e} parameters"
            return
        try:
            prepared = _prepare(model, trained)
        except Exception as error:  # noqa: BLE001 - whatever a model's own code raises, it cannot be copied
            found.reload_lacks = f"a model that can be copied ({type(error).__name__})"
            return
        try:
            if hasattr(model, "peft_config"):
                loaded = _adapter(model, prepared)
            elif prepared is None:
                loaded = _pretrained(model)
            else:
                loaded = self._state(prepared)
        except (RuntimeError, ValueError, KeyError) as error:
            found.reload_error = str(error).strip().splitlines()[0]
            return
        if loaded is None:
            found.reload_lacks = "one adapter, called 'default' and active"
            return
        found.reloaded = difference(nll(loaded.eval()), live, tolerance)

    def _state(self, bare: Any) -> Any:
        """The state into a copy without it, with everything else as it was at the start."""
        import torch

        modules = dict(bare.named_modules())
        with torch.no_grad():
            for (name, key), start in self._beside.items():
                held = getattr(modules.get(name), key, None)
                if isinstance(held, torch.Tensor) and held.shape == start.shape and held.dtype == start.dtype:
                    held.copy_(start)
        bare.load_state_dict(copy.deepcopy(self.model.state_dict()))
        return bare


def copied_again(model: Any) -> bool:
    """Is the model small enough for a copy of it?"""
    return sum(p.numel() for p in model.parameters()) <= MOST_PARAMETERS


def difference(first: np.ndarray, second: np.ndarray, tolerance: float) -> OutputDifference:
    """Mean absolute difference of two NLLs, over tokens that have one in either."""
    off = np.abs(first - second)
    off = off[~(np.isnan(first) & np.isnan(second))]
    return OutputDifference(nats=float(off.mean()) if len(off) else 0.0, tokens=len(off), tolerance=tolerance)


def _beside(module: Any) -> "Iterator[tuple[str, Any]]":
    """Floating tensors of this very module that its state does not hold."""
    import torch

    plain = [key for key, value in vars(module).items() if isinstance(value, torch.Tensor)]
    for key in (*plain, *module._non_persistent_buffers_set):
        tensor = getattr(module, key, None)
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            yield key, tensor


def _prepare(model: Any, trained: Collection[str]) -> Any:
    """What is loaded into: the base of an adapter, or a copy, without what was learned; None: loading makes its own."""
    import torch

    if not hasattr(model, "peft_config"):
        if hasattr(type(model), "from_pretrained") and hasattr(model, "save_pretrained") and _built_by_config(model):
            return None
        bare = copy.deepcopy(model)
        saved = bare.state_dict().values()
    else:
        bare = copy.deepcopy(model)
        # What the adapter does not bring along is lost: the base, as it is loaded elsewhere, has not learned it.
        names = [name for name, p in bare.named_parameters() if any(one.endswith(name) for one in trained)]
        saved = [p.data for name, p in bare.named_parameters() if name in names]
    with torch.no_grad():
        for tensor in saved:
            if tensor.is_floating_point():
                tensor.zero_()
    if not hasattr(model, "peft_config"):
        return bare
    return bare.unload() if hasattr(bare.base_model, "unload") else bare.get_base_model()


def _built_by_config(model: Any) -> bool:
    """Does its class make the same tensors of its config alone? Else `from_pretrained` is not how it is loaded.

    So with layers that were put into it by hand, and a class that takes more than a config. Quantised layers come with
    the config.
    """
    import torch

    if getattr(model, "hf_quantizer", None) is not None:
        return True
    try:
        with torch.device("meta"):
            fresh = type(model)(copy.deepcopy(model.config))
    except Exception:  # noqa: BLE001 - whatever a model's own code raises, it is not made so
        return False
    return set(fresh.state_dict()) == set(model.state_dict())


def _pretrained(model: Any) -> Any:
    """Saved into a temporary folder and loaded; the config is put back as it was, because saving writes into it."""
    parameter = next(model.parameters())
    with _folder(model) as folder:
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder, dtype=parameter.dtype, local_files_only=True).to(parameter.device)


def _adapter(model: Any, base: Any) -> Any:
    """An adapter, saved, and loaded onto its base."""
    from peft import PeftModel

    if list(model.peft_config) != ["default"] or model.active_adapters != ["default"]:
        return None
    parameter = next(model.parameters())
    with _folder(model) as folder:
        model.save_pretrained(folder)
        return PeftModel.from_pretrained(base, folder, local_files_only=True).to(parameter.device)


@contextlib.contextmanager
def _folder(model: Any) -> Iterator[str]:
    settings = [getattr(model, "config", None), getattr(model, "generation_config", None)]
    settings += list(getattr(model, "peft_config", {}).values())
    kept = [(one, copy.deepcopy(vars(one))) for one in settings if hasattr(one, "__dict__")]
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            yield folder
    finally:
        for one, values in kept:
            vars(one).clear()
            vars(one).update(values)
