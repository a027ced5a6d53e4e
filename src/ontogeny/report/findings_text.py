"""A diagnosis in words: for the terminal, for a comment in Markdown, and as JSON."""

from collections.abc import Callable, Iterable, Mapping

from ontogeny.core.printable import one_line, printable
from ontogeny.core.verdicts import Clear, Evidence, Finding, NotAssessable, Severity
from ontogeny.diagnosis.examine import Examination, as_json
from ontogeny.report.sparkline import marks, sparkline
from ontogeny.store.history import History, Segment, Series

COLOURS: Mapping[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
"""Styles of rich."""
DOCS = "docs/findings/{rule}.md"
AUDIT_DOCS = "docs/findings/audit.md#{check}"
"""Where a rule, or a check of an audit, is described."""


def series_of(examination: Examination, evidence: Evidence, segment: int) -> Series | None:
    """The series that the evidence was taken from, in the finding's segment or else in the first that has its steps."""
    segments = examination.history.segments
    for candidate in (*[s for s in segments if s.index == segment], *segments):
        series = candidate.get(evidence.name, evidence.scope)
        if series is not None and set(evidence.steps) & set(series.steps.tolist()):
            return series
    return None


def header(examination: Examination) -> str:
    """The log's path, format and objective, in two or three lines."""
    history = examination.history
    lines = [one_line(history.path)]
    if history.nothing:
        return "\n".join(
            [*lines, f"  {history.form}: no training curve. {_sentence(history.nothing)}", *_notes(history)]
        )
    counts = f"{history.entries:,} values" + (
        f" in {len(history.segments)} segments" if len(history.segments) > 1 else ""
    )
    lines.append(f"  {history.form}, {counts}; {examination.objective.value} ({examination.why_objective})")
    return "\n".join([*lines, *_notes(history)])


def _notes(history: History) -> list[str]:
    partial = ["  READ IN PART: only what could be read was diagnosed"] if history.partial else []
    return [*partial, *(f"  - {note}" for note in history.notes)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def terminal(examination: Examination, *, verbose: bool = False, colour: bool = False) -> str:
    """The whole diagnosis of one log as text. `colour`: with rich's markup; text from the log is then escaped."""
    escape = escape_for(colour)
    lines = [escape(header(examination))]
    for finding in examination.findings:
        lines += ["", *_finding(examination, finding, verbose=verbose, colour=colour)]
    if examination.history.nothing:
        return "\n".join(lines)
    if not examination.findings:
        lines += ["", "  nothing found"]
    lines += ["", f"  {tally(examination)}" + ("" if verbose else "  (-v says why)")]
    if verbose:
        lines += [f"    clear: {', '.join(v.rule for v in examination.verdicts if isinstance(v, Clear))}"]
        lacking = [v for v in examination.verdicts if isinstance(v, NotAssessable)]
        lines += [escape(f"    not assessable: {verdict.rule} lacks {verdict.lacks}") for verdict in lacking]
    return "\n".join(lines)


def tally(examination: Examination) -> str:
    """How many rules were clear, and how many could not be assessed."""
    clear = sum(isinstance(verdict, Clear) for verdict in examination.verdicts)
    lacking = sum(isinstance(verdict, NotAssessable) for verdict in examination.verdicts)
    return f"{clear} rules clear, {lacking} not assessable"


def escape_for(colour: bool) -> Callable[[str], str]:
    """How text of logs and names is shown: control characters escaped and, in `colour`, rich's markup too."""
    if not colour:
        return printable
    from rich.markup import escape

    return lambda text: escape(printable(text))


def _finding(examination: Examination, finding: Finding, *, verbose: bool, colour: bool) -> list[str]:
    escape = escape_for(colour)
    word = finding.severity.upper()
    shown = f"[{COLOURS[finding.severity]}]{word}[/]" if colour else word
    lines = [f"  {shown}  {escape(_sentence(finding.statement))}"]
    if finding.evidence:
        series = series_of(examination, finding.evidence[0], finding.segment)
        if series is not None and len(series) > 2:
            lines.append(escape(f"      {sparkline(series)}  {series.label}"))
            below = marks(series, finding.evidence[0].steps)
            lines += [f"      {below}"] if below else []
    lines.append(f"      {finding.rule} · {finding.certainty} · {DOCS.format(rule=finding.rule)}")
    if verbose:
        lines += [escape(f"      {line}") for line in _details(examination, finding)]
    return lines


def _details(examination: Examination, finding: Finding) -> list[str]:
    word = examination.history.row_word
    numbers = ", ".join(f"{name} {number(value)}" for name, value in finding.numbers.items())
    lines = [f"numbers: {numbers}", f"threshold: {finding.threshold}"]
    lines += [f"rests on: {evidence_in_words(evidence, word)}" for evidence in finding.evidence]
    lines += [f"else: {finding.otherwise}", f"refuted by: {finding.refuted_by}", f"remedy: {finding.remedy}"]
    return lines


def evidence_in_words(evidence: Evidence, row_word: str) -> str:
    """Where a finding's evidence stands in the log: `loss at line 12 (step 120: 2.31), …`."""
    points = zip(evidence.rows, evidence.steps, evidence.values, strict=True)
    return f"{evidence.label} at " + ", ".join(
        f"{row_word} {row} (step {step}: {value:.5g})" for row, step, value in points
    )


def number(value: float | int | str) -> str:
    """A number of a finding, with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def numbers_in_words(numbers: Mapping[str, float | int | str]) -> list[tuple[str, str]]:
    """(name, number) of all numbers of a finding."""
    return [(name.replace("_", " "), number(value)) for name, value in numbers.items()]


def markdown(examinations: Iterable[Examination]) -> str:
    """The diagnosis as Markdown, for a comment or a report."""
    parts = []
    for examination in examinations:
        history = examination.history
        parts.append(
            f"### `{one_line(history.path)}`\n\n{history.form}; {examination.objective.value}. {tally(examination)}."
        )
        if history.nothing:
            parts[-1] = (
                f"### `{one_line(history.path)}`\n\n{history.form}: no training curve. {_sentence(history.nothing)}"
            )
        elif not examination.findings:
            parts.append("Nothing found.")
        else:
            table = ["| severity | finding | rule | certainty |", "|---|---|---|---|"]
            table += [
                f"| {f.severity} | {_cell(_sentence(f.statement))} | [`{f.rule}`]({DOCS.format(rule=f.rule)}) | "
                f"{f.certainty} |"
                for f in examination.findings
            ]
            parts.append("\n".join(table))
        if history.partial:
            parts.append("*Read in part:* " + "; ".join(history.notes))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def plain(examination: Examination) -> dict[str, object]:
    """The diagnosis as plain values for JSON."""
    history, verdicts = examination.history, examination.verdicts
    return {
        "path": history.path,
        "form": history.form,
        "objective": examination.objective.value,
        "nothing": history.nothing,
        "partial": history.partial,
        "notes": list(history.notes),
        "segments": [_segment(segment) for segment in history.segments],
        "findings": [as_json(finding) for finding in examination.findings],
        "clear": [verdict.rule for verdict in verdicts if isinstance(verdict, Clear)],
        "not_assessable": {verdict.rule: verdict.lacks for verdict in verdicts if isinstance(verdict, NotAssessable)},
    }


def _segment(segment: Segment) -> dict[str, object]:
    return {
        "index": segment.index,
        "axis": segment.axis,
        "beginning": segment.beginning,
        "reason": segment.reason,
        "series": [described(series) for series in segment],
    }


def described(series: Series) -> dict[str, str | float | int | None]:
    """The name, length and range of one series. `first`, `last` and `lowest` are of its finite values."""
    clean = series.clean()
    return {
        "label": series.label,
        "scope": series.scope,
        "name": series.name,
        "points": len(series),
        "not_finite": len(series) - len(clean),
        "first_step": int(series.steps[0]),
        "last_step": int(series.steps[-1]),
        "first": float(clean.values[0]) if len(clean) else None,
        "last": float(clean.values[-1]) if len(clean) else None,
        "lowest": float(clean.values.min()) if len(clean) else None,
        "decimals": series.decimals,
        "unit": series.unit,
    }
