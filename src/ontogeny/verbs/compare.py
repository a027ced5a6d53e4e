"""Compare two logs."""

from dataclasses import asdict, dataclass
from pathlib import Path

from ontogeny.core.errors import DataError
from ontogeny.diagnosis.compare import Compared, compare
from ontogeny.integrations.importing import read_history
from ontogeny.store.history import CONFIG, History

MOST_STEPS = 6


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two logs: where their configurations and their series differ."""

    first: str
    second: str
    config: dict[str, tuple[object, object]]
    """Settings that both logs state, with different values."""
    series: list[Compared]

    def plain(self) -> dict[str, object]:
        """As plain values for JSON."""
        return asdict(self)


def compare_logs(first: Path, second: Path, mapping: dict[str, str] | None) -> Comparison:
    """Compare two logs. Raises DataError if one has no curve, or they have no series in common."""
    histories = read_history(first, mapping), read_history(second, mapping)
    for history in histories:
        if history.nothing:
            raise DataError(f"{history.path} has no training curve: {history.nothing}")
    compared = compare(*histories)
    if not compared:
        raise DataError(f"{first} and {second} share no series at common steps: see  ontogeny series  of each")
    return Comparison(first=str(first), second=str(second), config=_differences(*histories), series=compared)


def _differences(first: History, second: History) -> dict[str, tuple[object, object]]:
    firsts, seconds = dict(first.config), dict(second.config)
    shared = [key for key in CONFIG if key in firsts and key in seconds]
    return {key: (firsts[key], seconds[key]) for key in shared if firsts[key] != seconds[key]}


def text(comparison: Comparison) -> str:
    """The comparison for the terminal."""
    lines = [f"A  {comparison.first}", f"B  {comparison.second}"]
    lines += [f"   {key}: {first} in A, {second} in B" for key, (first, second) in comparison.config.items()]
    for series in comparison.series:
        interpolated = ", interpolated" if series.interpolated else ""
        lines += ["", f"{series.name} ({series.steps} common steps{interpolated})"]
        lines += [f"  {line}" for line in _lines_on(series)]
    return "\n".join(lines)


def _lines_on(series: Compared) -> list[str]:
    if series.equal:
        return ["equal in every bit"]
    final = series.final
    lines = [
        f"diverge at step {series.parted_at}: beyond the noise from there to the end"
        if series.parted_at is not None
        else "do not diverge: the difference is within the noise, or does not last",
        f"B minus A over the last tenth: {final.value:+.4g} (95% {final.low:+.4g} to {final.high:+.4g}), at a level of "
        f"{series.level:.4g}",
    ]
    if series.common_spikes:
        lines.append(f"spikes of both at step {_steps(series.common_spikes)}: the data, not the optimisation")
    for name, steps in zip("AB", series.own_spikes, strict=True):
        if steps:
            lines.append(f"spikes of {name} alone at step {_steps(steps)}")
    return lines


def _steps(steps: tuple[int, ...]) -> str:
    more = f" and {len(steps) - MOST_STEPS} more" if len(steps) > MOST_STEPS else ""
    return ", ".join(map(str, steps[:MOST_STEPS])) + more
