"""`all_results.json` and its kin: the last numbers of a run, and no history."""

from collections.abc import Mapping

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._source import Source

FORM = "summary of a run (all_results.json)"


def claim(source: Source) -> float:
    """One JSON object of plain values with metrics among them."""
    if not source.is_text or not source.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return 0.0
    found = source.json
    plain = isinstance(found, Mapping) and found and not any(isinstance(one, list | dict) for one in found.values())
    if not plain:
        return 0.0
    metrics = [key for key in found if "loss" in str(key) or str(key).startswith(("eval_", "train_", "test_"))]
    return 0.9 if metrics else 0.0


def read(source: Source, builder: Builder) -> None:
    """There is nothing to read."""
    builder.nothing = "it is a summary: the last numbers of a run, without their history. Give trainer_state.json"
