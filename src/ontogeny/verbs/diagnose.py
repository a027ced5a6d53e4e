"""Hold logs against every rule, and say what was found."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ontogeny.core.contracts import Severity
from ontogeny.core.errors import OntogenyError, closest
from ontogeny.diagnosis.examine import SEVERITIES, Examination, as_json, examine
from ontogeny.diagnosis.rule import Rule, all_rules
from ontogeny.integrations.importing import logs_under, read_history
from ontogeny.report import findings_text


def chosen_rules(names: Sequence[str]) -> list[Rule] | None:
    """The rules of these names or families; None for all. Raises OntogenyError naming the closest."""
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
    found = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise OntogenyError(
                f"--map {pair}: write OURS=THEIRS, as in  --map loss=objective --map eval/loss=held_out"
            )
        found[ours] = theirs
    return found or None


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
    """Every log below these paths, and one line for each that cannot be read.

    Raises OntogenyError if the only one cannot be read. Verdicts on our own runs are written into them.
    """
    logs = [log for path in paths for log in logs_under(path)]
    if not logs:
        raise OntogenyError(f"{', '.join(map(str, paths))}: no file in it: name a log, or a directory with logs")
    found, unreadable = [], []
    for log in logs:
        try:
            examination = examine(read_history(log, mapping), rules)
        except OntogenyError as error:
            if len(logs) == 1:
                raise
            unreadable.append(str(error))
            continue
        found.append(examination)
        if log.is_dir() and rules is None:
            _keep(log, examination)
    return found, unreadable


def diagnose_run(path: Path) -> None:
    """Hold a run of ours against all rules, and keep the verdicts in it. Raises StoreError if it cannot."""
    _keep(path, examine(read_history(path)))


def _keep(run: Path, examination: Examination) -> None:
    """Write the verdicts into a run of ours, where its page shows them."""
    from ontogeny.store import durable, schema

    durable.write_json(run / schema.FINDINGS, [as_json(one) for one in examination.verdicts])


def show(examinations: Sequence[Examination], unreadable: Sequence[str], *, verbose: bool) -> None:
    """Print the diagnosis; with colours on a terminal, plain elsewhere."""
    colour = sys.stdout.isatty()
    blocks = [findings_text.terminal(one, verbose=verbose, colour=colour) for one in examinations]
    text = "\n\n".join([*blocks, *(f"NOT READ  {line}" for line in unreadable)])
    if len(examinations) + len(unreadable) > 1:
        text += f"\n\n{summary(examinations, unreadable)}"
    if colour:
        from rich.console import Console

        Console(highlight=False, soft_wrap=True).print(text)
    else:
        print(text)  # noqa: T201


def summary(examinations: Sequence[Examination], unreadable: Sequence[str]) -> str:
    """One line about many logs."""
    curves = [one for one in examinations if not one.history.nothing]
    counts = [f"{sum(one.at_or_above(s) for one in curves)} with {s}s or worse" for s in SEVERITIES[:2]]
    nothing = len(examinations) - len(curves)
    return f"{len(curves)} logs: {', '.join(counts)}; {nothing} hold no curve; {len(unreadable)} not read"


def rules_table() -> str:
    """All rules by family: what they need, and when they speak."""
    lines = []
    family = ""
    for rule in all_rules():
        if rule.family != family:
            family = rule.family
            lines += ["", family.replace("_", " ").upper()]
        lines += [f"  {rule.id}: {rule.title}", f"      needs {rule.needs}", f"      when {rule.threshold}"]
    return "\n".join(lines).lstrip("\n")


def as_text(examinations: Sequence[Examination], unreadable: Sequence[str]) -> str:
    """JSON of one log, or of many under `logs` with what was not read."""
    plain = [findings_text.plain(one) for one in examinations]
    whole: Any = plain[0] if len(plain) == 1 and not unreadable else {"logs": plain, "not_read": list(unreadable)}
    return json.dumps(whole, indent=2, default=str)
