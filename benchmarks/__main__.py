"""Run all benchmarks, or those that are named, each in a process of its own: ``python -m benchmarks [NAME …]``.

A benchmark is a module in this folder with `main() -> dict`: what was measured -> its figures. Results go to
docs/benchmarks.json with machine and versions, and from there to docs/benchmarks.md; ``--page`` writes that alone.
"""

import ast
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_JSON = _HERE.parent / "docs" / "benchmarks.json"
_PAGE = _JSON.with_suffix(".md")
_INTRO = """# Benchmarks

Written by `make bench`; every figure as it was measured, also where it falls short. Sides are measured in turn in one
run, and their ratio is the median over the pairs with its distribution-free 95% interval, because seconds differ from
machine to machine and from minute to minute; fewer than six pairs have none. Where a table says that its program has
changed since, or is of before programs were recorded, its description is of the program of today; its intervals are
then bootstrap intervals, which at three or four pairs hold about 75 and 87% in place of 95.
"""


def names() -> list[str]:
    """The benchmarks: modules of this package that define `main`."""
    return sorted(p.stem for p in _HERE.glob("*.py") if p.stem != "__main__" and "def main(" in p.read_text())


def machine() -> dict[str, str]:
    """Processor, cores, memory, and the versions that speed depends on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "processor": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
    }
    for package in ("ontogeny", "torch", "transformers", "accelerate", "lm-eval"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def measure(name: str) -> dict[str, Any]:
    """Run one benchmark in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "--one", name]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_HERE.parent).stdout
    figures = json.loads(output.splitlines()[-1])
    return {"figures": figures, "machine": machine(), "date": time.strftime("%Y-%m-%d"), "program": program(name)}


def program(name: str) -> str:
    """Fingerprint of a benchmark's code, its descriptions left out."""
    digest = hashlib.sha256()
    for path in (_HERE / f"{name}.py", _HERE / "ratios.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", [])
            if isinstance(body, list):
                node.body = [  # type: ignore[attr-defined]
                    line
                    for line in body
                    if not (isinstance(line, ast.Expr) and isinstance(getattr(line.value, "value", None), str))
                ]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def page(results: dict[str, Any]) -> str:
    """The results as Markdown: a table for each benchmark."""
    parts = [_INTRO]
    for name, result in results.items():
        doc = ast.get_docstring(ast.parse((_HERE / f"{name}.py").read_text())) or ""
        parts.append(f"## {name.replace('_', ' ').capitalize()}\n\n{doc}\n")
        parts.append("| what | measured | asked | more |\n|---|---|---|---|")
        parts += [
            f"| {what} | {_headline(figures)} | {_asked(figures)} | {_rest(figures)} |"
            for what, figures in result["figures"].items()
        ]
        facts = ", ".join(f"{key} {text}" for key, text in result["machine"].items())
        parts.append(f"\n{result['date']}: {facts}.{_age(name, result)}\n")
    return "\n".join(parts)


def _age(name: str, result: dict[str, Any]) -> str:
    """Is the table that of the program that stands there now?"""
    if "program" not in result:
        return " Measured before programs were recorded."
    return "" if result["program"] == program(name) else " The program has changed since."


_HEADLINE = ("ratio", "seconds", "share", "low", "high")


def _asked(figures: Any) -> str:
    """The bound, and whether it was met: by the figure, and by its whole interval."""
    if not isinstance(figures, dict) or "asked" not in figures:
        return ""
    ((word, bound),) = figures["asked"].items()
    value = next(figures[key] for key in _HEADLINE[:3] if key in figures)
    sign = 1 if word == "at least" else -1
    ends = [figures[key] for key in ("low", "high") if key in figures]
    if sign * value < sign * bound:
        met = "**missed**"
    elif any(sign * end < sign * bound for end in ends):
        met = "met, not by its whole interval"
    else:
        met = "met"
    return f"{word} {bound:g}: {met}"


def _headline(figures: Any) -> str:
    if not isinstance(figures, dict):
        return _shown(figures)
    value = next((figures[key] for key in _HEADLINE[:3] if isinstance(figures.get(key), float)), None)
    if value is None:
        return ""
    interval = f" ({figures['low']:.3g} to {figures['high']:.3g})" if "low" in figures else ""
    return f"**{value:.3g}**{interval}"


def _rest(figures: Any) -> str:
    rest = (
        {key: value for key, value in figures.items() if key not in (*_HEADLINE, "asked")}
        if isinstance(figures, dict)
        else {}
    )
    return ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in rest.items())


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def main(chosen: list[str]) -> None:
    """Run the chosen benchmarks (by default all); results of the others are kept."""
    unknown = set(chosen) - set(names())
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(names())}")
    results = json.loads(_JSON.read_text()) if _JSON.exists() else {}
    failed: list[str] = []
    for name in chosen or names():
        print(f"{name} …", flush=True)
        try:
            results[name] = measure(name)
        except subprocess.CalledProcessError as error:  # its own words stand above; the others go on
            failed.append(name)
            print(f"  failed with exit code {error.returncode}: its table is left as it was", flush=True)
            continue
        for what, figures in results[name]["figures"].items():
            print(f"  {what}: {_headline(figures)} {_rest(figures)}", flush=True)
        _JSON.write_text(json.dumps(results, indent=2) + "\n")
        _PAGE.write_text(page(results))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(importlib.import_module(f"benchmarks.{sys.argv[2]}").main()))
    elif sys.argv[1:2] == ["--page"]:
        _PAGE.write_text(page(json.loads(_JSON.read_text())))
    else:
        main(sys.argv[1:])
