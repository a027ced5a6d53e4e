"""Run all benchmarks, or those that are named, each in a process of its own: ``python -m benchmarks [NAME …]``.

A benchmark is a module in this folder with `main() -> dict`: what was measured -> its figures. Results go to
docs/benchmarks.json with machine and versions, and from there to docs/benchmarks.md.
"""

import ast
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
run, and their ratio is given with a 95% bootstrap interval, because seconds differ from machine to machine and from
minute to minute.
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
    return {"figures": figures, "machine": machine(), "date": time.strftime("%Y-%m-%d")}


def page(results: dict[str, Any]) -> str:
    """The results as Markdown: a table for each benchmark."""
    parts = [_INTRO]
    for name, result in results.items():
        doc = ast.get_docstring(ast.parse((_HERE / f"{name}.py").read_text())) or ""
        parts.append(f"## {name.replace('_', ' ').capitalize()}\n\n{doc}\n")
        parts.append("| what | measured | more |\n|---|---|---|")
        parts += [
            f"| {what} | {_headline(figures)} | {_rest(figures)} |" for what, figures in result["figures"].items()
        ]
        parts.append(
            f"\n{result['date']}: " + ", ".join(f"{key} {text}" for key, text in result["machine"].items()) + ".\n"
        )
    return "\n".join(parts)


_HEADLINE = ("ratio", "seconds", "low", "high")


def _headline(figures: Any) -> str:
    if not isinstance(figures, dict):
        return _shown(figures)
    value = next((figures[key] for key in ("ratio", "seconds") if key in figures), None)
    if value is None:
        return ""
    interval = f" ({figures['low']:.3g} to {figures['high']:.3g})" if "low" in figures else ""
    return f"**{value:.3g}**{interval}"


def _rest(figures: Any) -> str:
    rest = {key: value for key, value in figures.items() if key not in _HEADLINE} if isinstance(figures, dict) else {}
    return ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in rest.items())


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def main(chosen: list[str]) -> None:
    """Run the chosen benchmarks (by default all); results of the others are kept."""
    unknown = set(chosen) - set(names())
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(names())}")
    results = json.loads(_JSON.read_text()) if _JSON.exists() else {}
    for name in chosen or names():
        print(f"{name} …", flush=True)
        results[name] = measure(name)
        for what, figures in results[name]["figures"].items():
            print(f"  {what}: {_headline(figures)} {_rest(figures)}", flush=True)
        _JSON.write_text(json.dumps(results, indent=2) + "\n")
    _PAGE.write_text(page(results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(importlib.import_module(f"benchmarks.{sys.argv[2]}").main()))
    else:
        main(sys.argv[1:])
