"""Follow a growing log and report each finding once."""

import time
from collections.abc import Callable
from pathlib import Path

from ontogeny.core.errors import OntogenyError
from ontogeny.core.printable import printable
from ontogeny.core.verdicts import SEVERITIES, Finding, Severity
from ontogeny.diagnosis.examine import examine
from ontogeny.integrations.importing import read_history

Say = Callable[[str], None]
_Key = tuple[str, int]


class Watcher:
    """The findings reported on a log so far. `look` reads the log again if it changed."""

    def __init__(self, path: Path, mapping: dict[str, str] | None, say: Say) -> None:
        self.path = path
        self.mapping = mapping
        self.say = say
        self.known: dict[_Key, Finding] = {}
        self.worst: Severity | None = None
        self._last_state: tuple[int, int] | None = None
        """Size and modification time when the log was last read."""
        self._last_text = ""

    def look(self) -> None:
        """Read the log if its size or time changed, and report what is new. A log need not exist yet."""
        try:
            stat = self.path.stat()
        except OSError:
            self._once(f"{self.path} does not exist yet: waiting")
            return
        state = (stat.st_size, stat.st_mtime_ns)
        if state == self._last_state:
            return
        self._last_state = state
        try:
            examination = examine(read_history(self.path, self.mapping))
        except OntogenyError as error:
            self._once(str(error))
            return
        if examination.history.nothing:
            self._once(f"nothing to judge yet: {examination.history.nothing}")
            return
        findings = {(finding.rule, finding.segment): finding for finding in examination.findings}
        for key, finding in findings.items():
            before = self.known.get(key)
            if before is None or SEVERITIES.index(finding.severity) < SEVERITIES.index(before.severity):
                self._tell(f"{finding.severity.upper()}  {finding.statement}  [{finding.rule}]")
        for key in self.known.keys() - findings.keys():
            self._tell(f"gone  {self.known[key].rule} no longer holds")
        self.known = findings
        severities = [finding.severity for finding in findings.values()]
        self.worst = min(severities, key=SEVERITIES.index) if severities else None

    def reached(self, severity: Severity | None) -> bool:
        """Is there a finding at least that bad?"""
        return (
            severity is not None
            and self.worst is not None
            and (SEVERITIES.index(self.worst) <= SEVERITIES.index(severity))
        )

    def _tell(self, text: str) -> None:
        self.say(f"{time.strftime('%H:%M:%S')}  {text}")

    def _once(self, text: str) -> None:
        if text != self._last_text:
            self._last_text = text
            self._tell(text)


def watch(path: Path, *, every_s: float, once: bool, mapping: dict[str, str] | None, fail_on: Severity | None) -> bool:
    """Look every `every_s` seconds until interrupted. Returns whether a finding as bad as `fail_on` ended it."""
    watcher = Watcher(path, mapping, lambda text: print(printable(text), flush=True))  # noqa: T201
    try:
        while True:
            watcher.look()
            if once or watcher.reached(fail_on):
                return watcher.reached(fail_on)
            time.sleep(every_s)
    except KeyboardInterrupt:
        watcher.say(f"stopped; {len(watcher.known)} findings stand (ontogeny diagnose {path} -v)")
        return False
