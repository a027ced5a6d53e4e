"""A diagnosis in words: for the terminal, for a comment in Markdown, and as JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from ontogeny.core.contracts import Clear, Evidence, Finding, NotAssessable
from ontogeny.diagnosis.examine import Examination, as_json
from ontogeny.report.sparkline import marks, sparkline
from ontogeny.store.history import Segment, Series

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
DOCS = "docs/findings/{rule}.md"
AUDIT_DOCS = "docs/findings/audit.md#{check}"
"""Where a rule, or a check of an audit, is described."""


def series_of(examination: Examination, evidence: Evidence, segment: int) -> Series | None:
    """The series that a piece of evidence is of, in the segment of its finding or in the first that has it."""
    segments = examination.history.segments
    for one in (*[s for s in segments if s.index == segment], *segments):
        found = one.get(evidence.name, evidence.scope)
        if found is not None and set(evidence.steps) & set(found.steps.tolist()):
            return found
    return None


def header(examination: Examination) -> str:
    """What was read, and how it was understood, in two or three lines."""
    history = examination.history
    lines = [f"{history.path}"]
    if history.nothing:
        return "\n".join(
            [*lines, f"  {history.form}: no training curve. {_sentence(history.nothing)}", *_notes(history)]
        )
    counts = f"{history.entries:,} values" + (
        f" in {len(history.segments)} segments" if len(history.segments) > 1 else ""
    )
    lines.append(f"  {history.form}, {counts}; {examination.objective.value} ({examination.why_objective})")
    return "\n".join([*lines, *_notes(history)])


def _notes(history: Any) -> list[str]:
    partial = ["  READ IN PART: what follows rests on what could be read"] if history.partial else []
    return [*partial, *(f"  - {note}" for note in history.notes)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def terminal(examination: Examination, *, verbose: bool = False, colour: bool = False) -> str:
    """The whole diagnosis of one log as text. `colour`: with rich's markup, everything else escaped."""
    escape = _escape if colour else str
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
    """How many rules were clear, and how many could not judge."""
    clear = sum(isinstance(one, Clear) for one in examination.verdicts)
    lacking = sum(isinstance(one, NotAssessable) for one in examination.verdicts)
    return f"{clear} rules clear, {lacking} not assessable"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _finding(examination: Examination, finding: Finding, *, verbose: bool, colour: bool) -> list[str]:
    escape = _escape if colour else str
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
    lines += [f"rests on: {rows(one, word)}" for one in finding.evidence]
    lines += [f"else: {finding.otherwise}", f"refuted by: {finding.refuted_by}", f"remedy: {finding.remedy}"]
    return lines


def rows(evidence: Evidence, word: str) -> str:
    """The rows that a finding rests on: `loss at line 12 (step 120: 2.31), …`."""
    points = zip(evidence.rows, evidence.steps, evidence.values, strict=True)
    return f"{evidence.label} at " + ", ".join(
        f"{word} {row} (step {step}: {value:.5g})" for row, step, value in points
    )


def number(value: float | int | str) -> str:
    """A number of a finding as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(examinations: Iterable[Examination]) -> str:
    """The diagnosis as Markdown, for a comment or a report."""
    parts = []
    for one in examinations:
        history = one.history
        parts.append(f"### `{history.path}`\n\n{history.form}; {one.objective.value}. {tally(one)}.")
        if history.nothing:
            parts[-1] = f"### `{history.path}`\n\n{history.form}: no training curve. {_sentence(history.nothing)}"
        elif not one.findings:
            parts.append("Nothing found.")
        else:
            table = ["| severity | finding | rule | certainty |", "|---|---|---|---|"]
            table += [
                f"| {f.severity} | {_cell(_sentence(f.statement))} | [`{f.rule}`]({DOCS.format(rule=f.rule)}) | "
                f"{f.certainty} |"
                for f in one.findings
            ]
            parts.append("\n".join(table))
        if history.partial:
            parts.append("*Read in part:* " + "; ".join(history.notes))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def plain(examination: Examination) -> dict[str, Any]:
    """The diagnosis as plain values for JSON."""
    history = examination.history
    verdicts: Mapping[str, list[Any]] = {"finding": [], "clear": [], "not assessable": []}
    for verdict in (*examination.findings, *[v for v in examination.verdicts if not isinstance(v, Finding)]):
        verdicts[verdict.verdict].append(as_json(verdict))
    return {
        "path": history.path,
        "form": history.form,
        "objective": examination.objective.value,
        "nothing": history.nothing,
        "partial": history.partial,
        "notes": list(history.notes),
        "segments": [_segment(one) for one in history.segments],
        "findings": verdicts["finding"],
        "clear": [one["rule"] for one in verdicts["clear"]],
        "not_assessable": {one["rule"]: one["lacks"] for one in verdicts["not assessable"]},
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "index": segment.index,
        "axis": segment.axis,
        "beginning": segment.beginning,
        "reason": segment.reason,
        "series": [described(one) for one in segment],
    }


def described(series: Series) -> dict[str, Any]:
    """One series in numbers: how it is called, how long it is, where it goes."""
    clean = series.clean()
    ends = [float(clean.values[0]), float(clean.values[-1])] if len(clean) else [None, None]
    return {
        "label": series.label,
        "scope": series.scope,
        "name": series.name,
        "points": len(series),
        "not_finite": len(series) - len(clean),
        "first_step": int(series.steps[0]),
        "last_step": int(series.steps[-1]),
        "first": ends[0],
        "last": ends[1],
        "lowest": float(clean.values.min()) if len(clean) else None,
        "decimals": series.decimals,
        "unit": series.unit,
    }
