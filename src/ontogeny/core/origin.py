"""Where an existing model is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an existing model and its tokenizer are."""

    path: str
    """Local directory or hub id of the model (of the adapter's base, where there is one)."""
    revision: str | None = None
    trust_remote_code: bool = False
    adapter: str | None = None
    """Directory of a LoRA adapter to merge."""
    tokenizer: str | None = None
    """Directory of the tokenizer, where it is not the model's."""
    parent: Mapping[str, Any] | None = None
    """Run, step and weights_sha256 that it was taken from."""
