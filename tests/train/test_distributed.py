"""Two processes on CPU give what one gives: the loop divides by the units of the whole step."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
from pathlib import Path
from tests.train.test_loop import session_of
from ontogeny.train.loop import training_steps
session = session_of(Path(sys.argv[1]), clip=None)
losses = [event.loss for event in training_steps(session)]
total = sum(float(p.detach().double().abs().sum()) for p in session.model.parameters())
if session.accelerator.is_main_process:
    found = {"world": session.accelerator.num_processes, "losses": losses, "sum": total}
    Path(sys.argv[2]).write_text(json.dumps(found))
"""


def run(texts: Path, out: Path, world: int) -> dict[str, object]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    if world > 1:
        shared["ACCELERATE_USE_CPU"] = "true"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(texts), str(out)],
            env={**os.environ, **(shared if world > 1 else {}), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            if world > 1
            else {**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )
        for rank in range(world)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0] * world
    return json.loads(out.read_text())


def test_two_processes_equal_one(texts: Path, tmp_path: Path) -> None:
    one, two = run(texts, tmp_path / "one.json", 1), run(texts, tmp_path / "two.json", 2)
    assert (one["world"], two["world"]) == (1, 2)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two["sum"] == pytest.approx(one["sum"], rel=1e-5)
