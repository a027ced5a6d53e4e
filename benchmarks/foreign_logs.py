"""Other people's logs: what is read, what is found, and whether it is true, beside trainspotter and runmedic.

135 logs in 12 formats, collected from public repositories, each with a state that was judged by eye (healthy, ill, too
short, no curve). A log is *read* if a curve was understood in it, and *declared* if it holds none and that was said.
Each error and warning was checked against the numbers in the log, and stands with its verdict in
`tests/golden/foreign_logs.tsv`; several findings of one rule on one log count once. Notes of ours are judged there as
well, and counted apart. Needs the logs: a folder named by ONTOGENY_FOREIGN_LOGS.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).parents[1]
GOLDEN = _REPOSITORY / "tests" / "golden"
_BIN = Path(sys.executable).parent
ALARMS = ("error", "warning")


def folder() -> Path | None:
    """Where the logs are; None if they are not."""
    given = os.environ.get("ONTOGENY_FOREIGN_LOGS")
    found = Path(given) if given else _REPOSITORY.parent / "shared" / "data" / "foreign_logs"
    return found if found.is_dir() else None


@dataclass
class Said:
    """What a tool said of one log: was a curve read, was it said that there is none; (severity, rule) of findings."""

    read: bool = False
    declared: bool = False
    crashed: bool = False
    findings: list[tuple[str, str]] = field(default_factory=list)


def ours(path: Path) -> Said:
    """This project, as a library."""
    from ontogeny.core.errors import OntogenyError
    from ontogeny.diagnosis.examine import examine
    from ontogeny.integrations.importing import read_history

    try:
        examination = examine(read_history(path))
    except OntogenyError:
        return Said()
    except Exception:  # noqa: BLE001  a crash is counted, and must not end the benchmark
        return Said(crashed=True)
    nothing = bool(examination.history.nothing)
    return Said(not nothing, nothing, False, [(one.severity, one.rule) for one in examination.findings])


def trainspotter(path: Path) -> Said:
    """Its command line, JSON output."""
    done = _run(["trainspotter", "analyze"], path, ["--output", "json"])
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return Said(crashed="Traceback" in done.stderr)
    rows = [(one["severity"], f"{one['detector']}: {one['title']}") for one in found["findings"]]
    return Said(bool(found["run"]["metrics"]), False, False, rows)


def runmedic(path: Path) -> Said:
    """Its command line, JSON output. What it calls critical we call an error."""
    done = _run(["runmedic", "diagnose"], path, ["--json"])
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return Said(crashed="Traceback" in done.stderr)
    words = {"critical": "error"}
    rows = [(words.get(one["severity"], one["severity"]), one["check"]) for run in found for one in run["findings"]]
    return Said(any(run["series"] for run in found), False, False, rows)


TOOLS = {"ontogeny": ours, "trainspotter": trainspotter, "runmedic": runmedic}


def _run(command: list[str], path: Path, options: list[str]) -> "subprocess.CompletedProcess[str]":
    """Event files are given as both tools want them: alone in a directory, under a name that TensorBoard knows."""
    beside = _BIN / command[0]
    program = str(beside) if beside.exists() else command[0]
    with tempfile.TemporaryDirectory() as name:
        given = path
        if "tfevents" in path.name:
            given = Path(name)
            (given / f"events.out.tfevents.1700000000.{path.name.partition('.')[0]}").symlink_to(path.resolve())
        line = [program, *command[1:], str(given), *options]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)


def states() -> dict[str, str]:
    """State of every log by its name: healthy, ill, short, no curve."""
    with (GOLDEN / "foreign_logs_state.tsv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row["state"] for row in csv.DictReader(file, delimiter="\t")}


def verdicts() -> dict[tuple[str, str, str], bool]:
    """Is it true, by (tool, file, rule)?"""
    with (GOLDEN / "foreign_logs.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(row["tool"], row["file"], row["rule"]): row["verdict"] == "true" for row in rows}


def figures(tool: str, said: dict[str, Said]) -> dict[str, Any]:
    """The figures of one tool."""
    judged, state = verdicts(), states()
    alarms = {(file, rule) for file, one in said.items() for severity, rule in one.findings if severity in ALARMS}
    notes = {(file, rule) for file, one in said.items() for severity, rule in one.findings} - alarms
    counted: dict[str, Counter[bool | None]] = {
        kind: Counter(judged.get((tool, file, rule)) for file, rule in found)
        for kind, found in (("alarms", alarms), ("notes", notes))
    }
    healthy = {file for file, _ in alarms if state[file] == "healthy"}
    found = {
        "logs": len(said),
        "read": sum(one.read for one in said.values()),
        "declared_no_curve": sum(one.declared for file, one in said.items()),
        "wrongly_read": sum(one.read for file, one in said.items() if state[file] == "no curve"),
        "crashes": sum(one.crashed for one in said.values()),
        "errors_and_warnings": len(alarms),
        "of_them_true": counted["alarms"][True],
        "not_judged": counted["alarms"][None],
        "healthy_alarmed": f"{len(healthy)} of {sum(one == 'healthy' for one in state.values())}",
        "ill_alarmed": f"{len({f for f, _ in alarms if state[f] == 'ill'})} of "
        f"{sum(one == 'ill' for one in state.values())}",
    }
    true = counted["alarms"][True]
    total = true + counted["alarms"][False]
    if total:
        found["precision"] = round(true / total, 3)
    if tool == "ontogeny":
        found["notes"] = len(notes)
        found["notes_true"] = counted["notes"][True]
        found["notes_not_judged"] = counted["notes"][None]
    return found


def examine_all(tool: str) -> dict[str, Said]:
    """Every log by name."""
    logs = folder()
    if logs is None:
        sys.exit("the foreign logs are not here: name their folder in ONTOGENY_FOREIGN_LOGS")
    return {name: TOOLS[tool](logs / name) for name in states()}


def main() -> dict[str, Any]:
    """All three tools over all logs."""
    return {tool: figures(tool, examine_all(tool)) for tool in TOOLS}


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
