"""Faults injected into small training loops: findings of the audit, of torcheck, and the libraries' own warnings.

Every test of tests/audit/faults is run once. A loop counts as a caught fault if the audit raises the finding that its
test expects. The other loops of passing tests are clean twins, and so are all loops of tests/audit/test_clean.py. A
test that fails is a missed fault or a false alarm; it is named, and none of its loops is counted. A fault without a
clean twin is named, too. Faults in trainers are those of tests/integrations/test_audit.py. The checks were written for
these faults, so the audit's own count only says that all these tests pass. In the same loops torcheck 1.0.1 watches
every trainable tensor (changes, no NaN, no infinity; its checks of outputs take a tensor, which these models do not
return), and warnings of Python and of the log are collected. The table of faults is written to
docs/findings/audit_faults.md.
"""

import contextlib
import importlib.util
import logging
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ontogeny.integrations.audit.check import all_checks
from ontogeny.integrations.audit.listening import stepping
from ontogeny.integrations.audit.session import Audit

_ROOT = Path(__file__).parents[1]
_FAULTS = _ROOT / "tests" / "audit" / "faults"
_OF_TORCHECK = "has been overridden"
"""What PyTorch's schedulers say of an optimizer that torcheck has wrapped."""
PAGE = _ROOT / "docs" / "findings" / "audit_faults.md"


@dataclass
class Watched:
    """One loop, and what each side said of it."""

    test: str
    found: list[str] = field(default_factory=list)
    torcheck: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


class _Torcheck:
    """torcheck on every trainable tensor of a model; what it raises is written down in place of ending the loop."""

    def __init__(self, model: Any, optimizers: list[Any], said: list[str]) -> None:
        from torcheck.registry import Registry

        self.said, self.before = said, []
        registry = Registry()
        for optimizer in map(stepping, optimizers):
            self.before.append((optimizer, optimizer.__dict__.get("step")))
            registry.register(optimizer)
            self._guard(registry.optimizer_to_spec[optimizer])
        for name, tensor in model.named_parameters():
            if tensor.requires_grad:
                with self._noted():
                    registry.add_tensor(tensor, name, changing=True, check_nan=True, check_inf=True)

    def _guard(self, spec: Any) -> None:
        validate = spec.validate

        def guarded() -> None:
            with self._noted():
                validate()

        spec.validate = guarded

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.said.append(str(error))

    def release(self) -> None:
        for optimizer, step in self.before:
            optimizer.__dict__.pop("step", None)
            if step is not None:
                optimizer.__dict__["step"] = step


class _Beside(logging.Handler):
    """A pytest plugin that has all sides watch every audited loop of every test."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.loops: list[Watched] = []
        self.failed: list[str] = []
        self._test = ""
        self._now: list[tuple[Any, Watched, _Torcheck | None, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        for _, loop, _, _ in self._now:
            loop.warned.append(record.getMessage())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: Any) -> Any:
        self._test = f"{item.path.stem}::{item.originalname}"
        return (yield)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(f"{Path(report.fspath).stem}::{report.location[2]}")

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        start, stop = Audit.start, Audit.stop

        def start_all(audit: Audit) -> None:
            self._begin(audit)
            start(audit)

        def stop_all(audit: Audit, **how: Any) -> None:
            stop(audit, **how)
            self._end(audit)

        Audit.start, Audit.stop = start_all, stop_all  # type: ignore[method-assign]
        logging.getLogger().addHandler(self)
        logging.getLogger("transformers").addHandler(self)
        try:
            yield
        finally:
            Audit.start, Audit.stop = start, stop  # type: ignore[method-assign]
            logging.getLogger().removeHandler(self)
            logging.getLogger("transformers").removeHandler(self)

    def _begin(self, audit: Audit) -> None:
        loop = Watched(self._test)
        self.loops.append(loop)
        caught = warnings.catch_warnings(record=True)
        messages = caught.__enter__()
        warnings.simplefilter("always")
        peer: _Torcheck | None = None
        recorder = audit._recorder
        if all(stepping(optimizer) is not None for optimizer in recorder.optimizers):
            peer = _Torcheck(recorder.model, recorder.optimizers, loop.torcheck)
        self._now.append((audit, loop, peer, (caught, messages)))

    def _end(self, audit: Audit) -> None:
        while self._now:
            watched, loop, peer, (caught, messages) = self._now.pop()
            loop.warned += [str(warned.message) for warned in messages or () if _OF_TORCHECK not in str(warned.message)]
            caught.__exit__(None, None, None)
            if peer is not None:
                peer.release()
            if watched is audit:
                loop.found = [finding.rule for finding in audit.report.findings]
                return


def watched() -> _Beside:
    """All loops of the tests of faults and of clean trainings."""
    beside = _Beside()
    trainers = "tests/integrations/test_audit.py"
    tests = [_FAULTS, _FAULTS.parent / "test_clean.py", _ROOT / trainers]
    # They show where verdicts go, with a fault that has its test.
    others = [
        f"--deselect={trainers}::{name}"
        for name in ("test_verdicts_stand_in_the_run_and_on_its_page", "test_what_was_found_is_printed")
    ]
    with beside.attached(), contextlib.redirect_stdout(sys.stderr):
        pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:warnings", *others, *map(str, tests)], plugins=[beside])
    return beside


def passing(beside: _Beside) -> list[Watched]:
    """Loops of tests that pass: of one that fails, nothing says which loops found what they should."""
    failed = {test.partition("[")[0] for test in beside.failed}
    return [loop for loop in beside.loops if loop.test not in failed]


def faults(beside: _Beside) -> dict[str, list[Watched]]:
    """Loops of each passing test in which something is found."""
    by_test: dict[str, list[Watched]] = defaultdict(list)
    for loop in passing(beside):
        by_test[loop.test].append(loop)
    return {test: loops for test, loops in by_test.items() if any(loop.found for loop in loops)}


def without_twin(beside: _Beside) -> list[str]:
    """Tests in which something is found in every loop."""
    return [test for test, loops in faults(beside).items() if all(loop.found for loop in loops)]


def page(beside: _Beside) -> str:
    """The table of faults as Markdown."""
    families = {check.id: check.family for check in all_checks()}
    lines = [_HEAD]
    for test, loops in faults(beside).items():
        faulty = [loop for loop in loops if loop.found]
        rules = sorted({rule for loop in faulty for rule in loop.found}, key=lambda rule: (families[rule], rule))
        cells = [
            test.split("::")[1].removeprefix("test_").replace("_", " "),
            ", ".join(f"`{rule}`" for rule in rules),
            str(len(loops) - len(faulty)),
            _share(faulty, "torcheck"),
            _share(faulty, "warned"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    figures = figures_of(beside)
    lines += ["", "| | audit | torcheck | own warnings |", "|---|---|---|---|"]
    lines += [
        f"| {what} | {counts['audit']} | {counts['torcheck']} | {counts['own_warnings']} |"
        for what, counts in figures.items()
        if "torcheck" in counts
    ]
    lines += ["", f"Missed, or alarmed where nothing is wrong: {', '.join(beside.failed) or 'none'}."]
    lines += ["", f"Faults without a clean twin: {', '.join(without_twin(beside)) or 'none'}.", ""]
    return "\n".join(lines)


def _share(loops: list[Watched], side: str) -> str:
    messages = [getattr(loop, side)[0] for loop in loops if getattr(loop, side)]
    if not messages:
        return "silent"
    plain = re.sub(r"\x1b\[[0-9;]*m|(?<=from: )\S+", "", messages[0])  # no colours, no folder of this machine
    line = " ".join(plain.split()).removeprefix("The following errors are detected while training: ")
    line = line.replace("|", "\\|")
    return f"{len(messages)} of {len(loops)}: {line[:70]}{'…' if len(line) > 70 else ''}"


def figures_of(beside: _Beside) -> dict[str, Any]:
    """Loops in which each side speaks, with a fault and without one."""
    faulty = [loop for loop in passing(beside) if loop.found]
    clean = [loop for loop in passing(beside) if not loop.found]
    counts = {"loops in which the audit finds what its test injects": faulty, "clean loops": clean}
    figures: dict[str, Any] = {
        what: {
            "audit": f"{sum(bool(loop.found) for loop in loops)} of {len(loops)}",
            "torcheck": f"{sum(bool(loop.torcheck) for loop in loops)} of {len(loops)}",
            "own_warnings": f"{sum(bool(loop.warned) for loop in loops)} of {len(loops)}",
        }
        for what, loops in counts.items()
    }
    rules = {rule for loop in faulty for rule in loop.found}
    figures["checks"] = {"caught by name in a test": len(rules), "of": len(all_checks())}
    figures["tests that fail"] = {"n": len(beside.failed)}
    figures["faults without a clean twin"] = {"n": len(without_twin(beside))}
    return figures


_HEAD = """# Faults that the audit was tested with

Written by `python -m benchmarks audit_faults`. Each row is a test of `tests/audit/faults`: a small training loop with
one fault (or a Hugging Face, TRL or Lightning trainer, of `tests/integrations/test_audit.py`), and beside it, in the
same test, clean twins, in which nothing may be found. In the same loops
[torcheck](https://github.com/pengyan510/torcheck) 1.0.1 watches every trainable tensor (that it changes, no NaN, no
infinity), and what Python, PyTorch, the trainers and Transformers warn of by themselves is collected, whether it is
about the fault or not. "k of n" are loops. These are the
faults that the checks were written for: the table says who else tells of them, and is no estimate of how many of the
faults of the world are found.

| fault | audit | clean twins, silent | torcheck | own warnings |
|---|---|---|---|---|"""


def main() -> dict[str, Any]:
    """Run all tests, write the page, return the figures. Exits with a line where torcheck is not installed."""
    if importlib.util.find_spec("torcheck") is None:
        sys.exit(
            "benchmark audit_faults needs torcheck: pip install --no-deps torcheck==1.0.1  (it asks for torch < 2)"
        )
    beside = watched()
    PAGE.write_text(page(beside), encoding="utf-8")
    return figures_of(beside)
