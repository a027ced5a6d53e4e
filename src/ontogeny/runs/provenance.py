"""What ran, on what, from where: written beside every run."""

import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ontogeny.core.recipe import Recipe
from ontogeny.core.version import __version__
from ontogeny.data.batch_plans import REPLAY_CARRIED

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "peft",
    "datasets",
    "numpy",
    "zarr",
    "xarray",
)


def environment() -> dict[str, Any]:
    """Versions and machine. Exact resume holds where these are equal."""
    import torch

    return {
        "ontogeny": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def describe(
    recipe: Recipe,
    data: dict[str, Any],
    model: "PreTrainedModel",
    parent: Mapping[str, Any] | None = None,
    companions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Provenance of a new run. `parent`: the run that the model comes from; `companions`: of each, what it was."""
    from ontogeny.models.weights import nonembedding_parameters

    return {
        "recipe_hash": recipe.recipe_hash,
        "train_hash": recipe.train_hash,
        "started_unix_s": time.time(),
        REPLAY_CARRIED: True,
        "command": ["ontogeny", *sys.argv[1:]],
        "environment": environment(),
        "data": data,
        "model": {
            "class": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "nonembedding_parameters": nonembedding_parameters(model),
            "parent": dict(parent) if parent else None,
        },
        **({"companions": dict(companions)} if companions else {}),
        "resumes": [],
        "extensions": [],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
