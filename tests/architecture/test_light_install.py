"""Without the extra `train`, a run can be opened and shown; what trains says in one line what it needs."""

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Calls a program of a fresh environment that holds the wheel and what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("light")
    environment = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, env=environment)
    venv.create(folder / "venv", with_pip=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([folder / "venv/bin/pip", "install", "-q", str(wheel)], check=True, env=environment)

    def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(folder / "venv" / "bin" / program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)

    return run


def test_torch_is_not_there(call: Call) -> None:
    assert "No module named 'torch'" in call("python", "-c", "import torch").stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--help"], "memorized"), (["schema"], "token_nll"), (["schema", "token_nll"], "probes"), (["list"], "demo")],
)
def test_verbs_that_need_no_torch(call: Call, arguments: list[str], expected: str) -> None:
    done = call("ontogeny", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout


@pytest.mark.parametrize(
    "arguments", [["demo"], ["run", "demo"], ["run", "demo", "--plan"], ["measure", "somewhere", "--kind", "token_nll"]]
)
def test_verbs_that_train_or_measure_say_what_is_missing(call: Call, arguments: list[str]) -> None:
    done = call("ontogeny", *arguments)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "pip install 'ontogeny[train]'" in done.stderr


def test_a_run_is_opened_and_shown(call: Call) -> None:
    script = """
import ontogeny
from ontogeny.store.writer import RunWriter
with RunWriter.create("run", recipe_yaml="name: x", recipe={"name": "x"}, provenance={}) as writer:
    for step in range(3):
        writer.add_metric(step, "loss", "train", 3.0 - step)
print(ontogeny.open("run").series("loss", "train").value.tolist())
"""
    assert call("python", "-c", script).stdout == "[3.0, 2.0, 1.0]\n"
    done = call("ontogeny", "report", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "html" in done.stdout
