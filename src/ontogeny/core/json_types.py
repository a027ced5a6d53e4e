"""Types of plain JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
"""A value that can be written as JSON. Covariant, so that a `dict[str, int]` is one."""

JsonTree: TypeAlias = bool | int | float | str | list["JsonTree"] | dict[str, "JsonTree"] | None
"""A value that was read from JSON or YAML, and may be changed in place."""

JsonObject: TypeAlias = dict[str, Any]
"""An object that was read from JSON. Its reader knows which keys to expect; the type checker cannot."""
