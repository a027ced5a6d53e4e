"""Logs of other people: how many are read, and how many findings are true, compared with trainspotter and runmedic.

135 logs in 12 formats, collected from public repositories. The state of each was judged by eye: healthy, ill, too
short, no curve. A log counts as *read* if the tool understood a curve in it, and as *declared* if the tool said that it
holds none. Each error and warning was checked against the numbers in the log; the verdicts are in
`tests/golden/foreign_logs.tsv`. Our rules were written with these logs in view, and a test asks that none of their
findings is unjudged or false, so our own figures say little of other logs; the verdicts on the peers are ours, too, and
they ran with their defaults. Several findings of one rule on one log count once. Our notes are judged there, too,
and counted separately. Needs the logs, in a folder named by ONTOGENY_FOREIGN_LOGS.
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
    """Where the logs are; None if they are not there."""
    given = os.environ.get("ONTOGENY_FOREIGN_LOGS")
    logs = Path(given) if given else _REPOSITORY.parent / "shared" / "data" / "foreign_logs"
    return logs if logs.is_dir() else None


@dataclass
class Answer:
    """A tool's answer to one log: was a curve read, was the log declared to hold none; (severity, rule) of findings."""

    read: bool = False
    declared: bool = False
    crashed: bool = False
    findings: list[tuple[str, str]] = field(default_factory=list)


def ours(path: Path) -> Answer:
    """This project, as a library."""
    from ontogeny.core.errors import OntogenyError
    from ontogeny.diagnosis.examine import examine
    from ontogeny.integrations.importing import read_history

    try:
        examination = examine(read_history(path))
    except OntogenyError:
        return Answer()
    except Exception:  # noqa: BLE001  a crash is counted, and must not end the benchmark
        return Answer(crashed=True)
    nothing = bool(examination.history.nothing)
    return Answer(not nothing, nothing, False, [(finding.severity, finding.rule) for finding in examination.findings])


def trainspotter(path: Path) -> Answer:
    """Its command line, JSON output."""
    done = _run(["trainspotter", "analyze"], path, ["--output", "json"])
    try:
        analysis = json.loads(done.stdout)
    except ValueError:
        return Answer(crashed="Traceback" in done.stderr)
    rows = [(row["severity"], f"{row['detector']}: {row['title']}") for row in analysis["findings"]]
    return Answer(bool(analysis["run"]["metrics"]), False, False, rows)


def runmedic(path: Path) -> Answer:
    """Its command line, JSON output. What it calls critical we call an error."""
    done = _run(["runmedic", "diagnose"], path, ["--json"])
    try:
        runs = json.loads(done.stdout)
    except ValueError:
        return Answer(crashed="Traceback" in done.stderr)
    words = {"critical": "error"}
    rows = [(words.get(row["severity"], row["severity"]), row["check"]) for run in runs for row in run["findings"]]
    return Answer(any(run["series"] for run in runs), False, False, rows)


TOOLS = {"ontogeny": ours, "trainspotter": trainspotter, "runmedic": runmedic}


def _run(command: list[str], path: Path, options: list[str]) -> "subprocess.CompletedProcess[str]":
    """Event files are passed as both tools expect them: alone in a directory, under a name that TensorBoard knows."""
    installed = _BIN / command[0]
    program = str(installed) if installed.exists() else command[0]
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


def figures(tool: str, answers: dict[str, Answer]) -> dict[str, Any]:
    """The figures of one tool."""
    judged, state = verdicts(), states()
    findings = [(file, *finding) for file, answer in answers.items() for finding in answer.findings]
    alarms = {(file, rule) for file, severity, rule in findings if severity in ALARMS}
    notes = {(file, rule) for file, _, rule in findings} - alarms
    counted: dict[str, Counter[bool | None]] = {
        kind: Counter(judged.get((tool, file, rule)) for file, rule in of_kind)
        for kind, of_kind in (("alarms", alarms), ("notes", notes))
    }
    healthy = {file for file, _ in alarms if state[file] == "healthy"}
    counts = {
        "logs": len(answers),
        "read": sum(answer.read for answer in answers.values()),
        "declared_no_curve": sum(answer.declared for answer in answers.values()),
        "wrongly_read": sum(answer.read for file, answer in answers.items() if state[file] == "no curve"),
        "crashes": sum(answer.crashed for answer in answers.values()),
        "errors_and_warnings": len(alarms),
        "of_them_true": counted["alarms"][True],
        "not_judged": counted["alarms"][None],
        "healthy_alarmed": f"{len(healthy)} of {list(state.values()).count('healthy')}",
        "ill_alarmed": f"{len({f for f, _ in alarms if state[f] == 'ill'})} of {list(state.values()).count('ill')}",
    }
    true = counted["alarms"][True]
    total = true + counted["alarms"][False]
    if total:
        counts["precision"] = round(true / total, 3)
    if tool == "ontogeny":
        counts["notes"] = len(notes)
        counts["notes_true"] = counted["notes"][True]
        counts["notes_not_judged"] = counted["notes"][None]
    return counts


def examine_all(tool: str) -> dict[str, Answer]:
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
