"""YAML 1.2 to plain values, with the line of every key."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ontogeny.core.errors import RecipeError
from ontogeny.core.json_types import JsonTree

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node

Location = tuple[str | int, ...]
Origins = dict[Location, str]
"""Where each key of a recipe comes from, as an error line begins: ``demo.yaml, line 12``."""

_DEEPEST = 40
_MOST_DIGITS = 100
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no path, file or JSON can hold: NUL, and halves of characters."""
MOST_VALUES = 100_000
MOST_CHARACTERS = 300_000
"""Bounds of what is read: a recipe of a few lines must not keep a machine busy."""


def read_yaml(text: str, where: str) -> tuple[JsonTree, Origins]:
    """Plain values (None for an empty text) and their origins; `where` names the text in errors.

    YAML 1.2: `on`, `no` and dates are text, `3e-4` is a number, `0o17` is 15. Tags are refused, so reading executes
    nothing. Raises RecipeError with the line of the fault, including a key that occurs twice.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > MOST_CHARACTERS:
        raise RecipeError(f"{where}: a recipe has at most {MOST_CHARACTERS:,} characters, this has {len(text):,}")
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except RecursionError:
        raise RecipeError(f"{where}: not YAML: nested too deep") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or getattr(error, "context", "")
        raise RecipeError(f"{where}{line}: not YAML: {problem}") from None
    reader = _PlainValues(where)
    return (None if root is None else reader.plain(root, ())), reader.origins


class _PlainValues:
    """Turns nodes into plain values. Each alias counts as all that it stands for, so that the work is bounded."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.origins: Origins = {}
        self._left = MOST_VALUES

    def plain(self, node: "Node", location: Location) -> JsonTree:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        here = f"{self.where}, line {node.start_mark.line + 1}"
        self.origins.setdefault(location, here)
        self._left -= 1
        if self._left < 0:
            raise RecipeError(f"{here}: more than {MOST_VALUES:,} values, each alias counted as what it stands for")
        if len(location) > _DEEPEST:
            raise RecipeError(f"{here}: nested more than {_DEEPEST} deep (an alias inside its own anchor?)")
        if isinstance(node, MappingNode):
            return self._mapping(node, location)
        if isinstance(node, SequenceNode):
            return [self.plain(item, (*location, i)) for i, item in enumerate(node.value)]
        return _scalar(node.value, str(node.tag), here)

    def _mapping(self, node: "MappingNode", location: Location) -> dict[str, JsonTree]:
        plain: dict[str, JsonTree] = {}
        for key, value in node.value:
            here = f"{self.where}, line {key.start_mark.line + 1}"
            if not isinstance(key.value, str):
                raise RecipeError(f"{here}: a key must be a word, not a list or a mapping")
            if key.value in plain:
                raise RecipeError(f"{here}, key '{'.'.join(map(str, (*location, key.value)))}': the key stands twice")
            self.origins[*location, key.value] = here
            plain[key.value] = self.plain(value, (*location, key.value))
        return plain


def _scalar(text: str, tag: str, here: str) -> JsonTree:
    kind = tag.removeprefix("tag:yaml.org,2002:")
    if no_text := _NO_TEXT.search(text):
        raise RecipeError(f"{here}: the character {no_text[0]!r} cannot stand in a recipe")
    if kind in ("int", "float") and len(text) > _MOST_DIGITS:
        raise RecipeError(f"{here}: a number of {len(text):,} digits: at most {_MOST_DIGITS} are read")
    try:
        match kind:
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}.get(text.lower(), text)
            case "int":
                digits = text.replace("_", "")
                return int(digits, 0 if digits.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)
            case "float":
                named = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
                return named[text.lower()] if text.lower() in named else float(text.replace("_", ""))
            case "str" | "timestamp" | "value" | "merge":
                return text
    except ValueError:
        return text
    raise RecipeError(f"{here}: the tag {tag!r} means nothing in a recipe: leave it out")


def write_yaml(tree: Mapping[str, JsonTree]) -> str:
    """Plain values as YAML; short lists and mappings of scalars are written on one line."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1_000_000
    out = StringIO()
    yaml.dump({key: _lay_out(value) for key, value in tree.items()}, out)
    return out.getvalue()


def _lay_out(node: JsonTree, in_line: bool = False) -> object:
    """The value as ruamel objects that carry its style; `in_line`: inside a list or mapping on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(node, str):
        # Double quotes where ruamel would write text that reads as something else: "?0" inside [ ], control characters.
        safe = re.fullmatch(r"\w[\w ./-]*", node) if in_line else node.isprintable()
        return node if safe else DoubleQuotedScalarString(node)
    if not isinstance(node, dict | list):
        return node
    items = list(node.values()) if isinstance(node, dict) else node
    short = not any(isinstance(item, dict | list) for item in items) and len(str(node)) <= 90
    styled: CommentedMap | CommentedSeq
    if isinstance(node, dict):
        styled = CommentedMap({key: _lay_out(value, short) for key, value in node.items()})
    else:
        styled = CommentedSeq([_lay_out(value, short) for value in node])
    if short:
        styled.fa.set_flow_style()
    return styled
