"""Apply every rule to logs and print the findings."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.core.verdicts import SEVERITIES, Severity
from ontogeny.diagnosis.examine import Examination, as_json, examine
from ontogeny.diagnosis.rule import Rule, all_rules
from ontogeny.integrations.importing import logs_under, read_history
from ontogeny.report import findings_text


def chosen_rules(names: Sequence[str]) -> list[Rule] | None:
    """The rules of these names or families; None for all. Raises OntogenyError that names the closest."""
    if not names:
        return None
    rules = all_rules()
    known = {rule.id for rule in rules} | {rule.family for rule in rules}
    for name in names:
        if name not in known:
            raise OntogenyError(f"no rule or family '{name}': {closest(name, known)} (see  ontogeny diagnose --rules)")
    return [rule for rule in rules if rule.id in names or rule.family in names]


def mapping_of(pairs: Sequence[str]) -> dict[str, str] | None:
    """`loss=objective_2` as a mapping. Raises OntogenyError for anything else."""
    mapping = {}
    for pair in pairs:
        ours, equals, label = pair.partition("=")
        if not (ours and equals and label):
            raise OntogenyError(
                f"--map {pair}: write OURS=THEIRS, as in  --map loss=objective --map eval/loss=held_out"
            )
        mapping[ours] = label
    return mapping or None


def severity_of(name: str | None) -> Severity | None:
    """A severity by its name. Raises OntogenyError for another word."""
    if name is None:
        return None
    for severity in SEVERITIES:
        if severity == name:
            return severity
    raise OntogenyError(f"--fail-on {name}: write one of {', '.join(SEVERITIES)}")


def diagnose_all(
    paths: Sequence[Path], mapping: Mapping[str, str] | None, rules: Sequence[Rule] | None
) -> tuple[list[Examination], list[str]]:
    """The diagnosis of every log under these paths, and one line for each that cannot be read.

    Raises OntogenyError if there is one log only and it cannot be read. Verdicts on our own runs are saved in them.
    """
    logs = [log for path in paths for log in logs_under(path)]
    if not logs:
        raise OntogenyError(f"{', '.join(map(str, paths))} has no files: name a log, or a directory with logs")
    examinations, unreadable = [], []
    for log in logs:
        try:
            examination = examine(read_history(log, mapping), rules)
        except OntogenyError as error:
            if len(logs) == 1:
                raise
            unreadable.append(str(error))
            continue
        examinations.append(examination)
        if log.is_dir() and rules is None:
            _keep(log, examination)
    return examinations, unreadable


def diagnose_run(path: Path) -> None:
    """Apply all rules to a run of ours and save the verdicts in it. Raises StoreError if it cannot."""
    _keep(path, examine(read_history(path)))


def _keep(run: Path, examination: Examination) -> None:
    """Save the verdicts in a run of ours, where its page shows them."""
    from ontogeny.store import durable, schema

    verdicts = [as_json(verdict) for verdict in examination.verdicts]
    durable.write_json(run / schema.FINDINGS, {schema.VERDICTS: verdicts})


def show(examinations: Sequence[Examination], unreadable: Sequence[str], *, verbose: bool) -> None:
    """Print the diagnosis, in colour on a terminal."""
    colour = sys.stdout.isatty()
    escape = findings_text.escape_for(colour)
    blocks = [findings_text.terminal(examination, verbose=verbose, colour=colour) for examination in examinations]
    text = "\n\n".join([*blocks, *(escape(f"NOT READ  {line}") for line in unreadable)])
    if len(examinations) + len(unreadable) > 1:
        text += f"\n\n{summary(examinations, unreadable)}"
    if colour:
        from rich.console import Console

        Console(highlight=False, soft_wrap=True).print(text)
    else:
        print(text)  # noqa: T201


def summary(examinations: Sequence[Examination], unreadable: Sequence[str]) -> str:
    """One line that sums up many logs."""
    curves = [examination for examination in examinations if not examination.history.nothing]
    counts = [f"{sum(examination.at_or_above(s) for examination in curves)} with {s}s or worse" for s in SEVERITIES[:2]]
    nothing = len(examinations) - len(curves)
    return f"{len(curves)} logs: {', '.join(counts)}; {nothing} without a curve; {len(unreadable)} not read"


def rules_table() -> str:
    """All rules by family: what they need, and when they make a finding."""
    lines = []
    family = ""
    for rule in all_rules():
        if rule.family != family:
            family = rule.family
            lines += ["", family.replace("_", " ").upper()]
        lines += [f"  {rule.id}: {rule.title}", f"      needs {rule.needs}", f"      when {rule.threshold}"]
    return "\n".join(lines).lstrip("\n")


def as_text(examinations: Sequence[Examination], unreadable: Sequence[str]) -> str:
    """The JSON of one log; of several, under `logs`, with the unreadable ones under `not_read`."""
    plain = [findings_text.plain(examination) for examination in examinations]
    single = len(plain) == 1 and not unreadable
    return json.dumps(plain[0] if single else {"logs": plain, "not_read": list(unreadable)}, indent=2, default=str)
