"""`all_results.json` and similar files: the final numbers of a run, without a history."""

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._source import Source

FORM = "summary of a run (all_results.json)"


def claim(source: Source) -> float:
    """It is one JSON object of plain values, some of them metrics."""
    if not source.is_text or not source.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return 0.0
    summary = source.json
    if not isinstance(summary, dict) or any(isinstance(value, list | dict) for value in summary.values()):
        return 0.0
    has_metric = any("loss" in key or key.startswith(("eval_", "train_", "test_")) for key in summary)
    return 0.9 if has_metric else 0.0


def read(source: Source, builder: Builder) -> None:
    """There is nothing to read."""
    builder.nothing = "it is a summary: the final numbers of a run, without a history. Give trainer_state.json"
