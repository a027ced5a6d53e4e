"""Compare two logs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ontogeny.core.errors import DataError
from ontogeny.diagnosis.compare import compare
from ontogeny.integrations.importing import read_history
from ontogeny.store.history import CONFIG, History

MOST_STEPS = 6


def compare_logs(one: Path, other: Path, mapping: dict[str, str] | None) -> dict[str, Any]:
    """What both logs have, and where they part. Raises DataError if one holds no curve, or they share no series."""
    histories = [read_history(path, mapping) for path in (one, other)]
    for history in histories:
        if history.nothing:
            raise DataError(f"{history.path} holds no training curve: {history.nothing}")
    found = compare(*histories)
    if not found:
        raise DataError(f"{one} and {other} share no series at common steps: see  ontogeny series  of each")
    return {
        "first": str(one),
        "second": str(other),
        "config": _differences(*histories),
        "series": [asdict(entry) for entry in found],
    }


def _differences(one: History, other: History) -> dict[str, list[Any]]:
    """Configuration that both logs state, and differently."""
    keys = [key for key in CONFIG if key in one.config and key in other.config]
    return {key: [one.config[key], other.config[key]] for key in keys if one.config[key] != other.config[key]}


def text(found: dict[str, Any]) -> str:
    """As a person reads it."""
    lines = [f"A  {found['first']}", f"B  {found['second']}"]
    lines += [f"   {key}: {one} in A, {other} in B" for key, (one, other) in found["config"].items()]
    for entry in found["series"]:
        lines += [
            "",
            f"{entry['name']} ({entry['steps']} common steps{', interpolated' if entry['interpolated'] else ''})",
        ]
        lines += [f"  {line}" for line in _said(entry)]
    return "\n".join(lines)


def _said(entry: dict[str, Any]) -> list[str]:
    if entry["equal"]:
        return ["equal in every bit"]
    final = entry["final"]
    change = f"{final['value']:+.4g} (95% {final['low']:+.4g} to {final['high']:+.4g})"
    lines = [
        f"parted at step {entry['parted_at']}: beyond the noise from there to the end"
        if entry["parted_at"] is not None
        else "not parted: what differs is within the noise, or does not last",
        f"B minus A over the last tenth: {change}, at a level of {entry['level']:.4g}",
    ]
    if entry["common_spikes"]:
        where = _steps(entry["common_spikes"])
        lines.append(f"spikes of both at step {where}: the data, not the optimisation")
    for name, steps in zip("AB", entry["own_spikes"], strict=True):
        if steps:
            lines.append(f"spikes of {name} alone at step {_steps(steps)}")
    return lines


def _steps(steps: tuple[int, ...]) -> str:
    more = f" and {len(steps) - MOST_STEPS} more" if len(steps) > MOST_STEPS else ""
    return ", ".join(map(str, steps[:MOST_STEPS])) + more
