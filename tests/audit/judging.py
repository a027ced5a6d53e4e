"""Run a loop under the audit, and return what it found, by check."""

from collections.abc import Callable
from typing import Any

from ontogeny.core.verdicts import Finding
from ontogeny.integrations.audit.session import Audit
from tests.audit.loops import Loop


def audited(loop: Loop, watch_each: Callable[[Audit, int], Any] | None = None, **watched: Any) -> Audit:
    """The audit of a loop; nothing may have gone wrong inside it."""
    settings = {name: watched.pop(name) for name in ("tokenizer", "first") if name in watched}

    def watcher(model: Any, optimizer: Any) -> Audit:
        audit = Audit(model, optimizer, quiet=True, **settings).watch(**watched)
        if watch_each:
            count = iter(range(10**6))
            model.register_forward_pre_hook(lambda *_: watch_each(audit, next(count)) and None)
        return audit

    audit = loop.run(watcher)
    assert isinstance(audit, Audit)
    unbroken(audit)
    return audit


def unbroken(audit: Audit) -> None:
    """Nothing went wrong inside."""
    assert audit.report.mishaps == (), audit.report.mishaps
    assert not [one for one in audit.report.verdicts if "a recording that it can read" in getattr(one, "lacks", "")]


def silent(audit: Audit, *clear: str) -> None:
    """A clean twin: nothing was found, nothing went wrong inside, and these checks looked and could judge."""
    unbroken(audit)
    assert audit.report.findings == (), audit.report.findings
    judged = {one.rule: one for one in audit.report.verdicts}
    assert {rule for rule in clear if judged[rule].verdict == "clear"} == set(clear), [judged[rule] for rule in clear]


def clears(loop: Loop, watch_each: Callable[[Audit, int], Any] | None = None, **watched: Any) -> set[str]:
    """Checks that looked and found nothing."""
    return {one.rule for one in audited(loop, watch_each, **watched).report.verdicts if one.verdict == "clear"}


def findings(loop: Loop, **watched: Any) -> dict[str, Finding]:
    """What was found, by check."""
    return {one.rule: one for one in audited(loop, **watched).report.findings}


def findings_with(loop: Loop, watch_each: Callable[[Audit, int], Any], **watched: Any) -> dict[str, Finding]:
    """The same, with something watched before every forward pass."""
    return {one.rule: one for one in audited(loop, watch_each, **watched).report.findings}
