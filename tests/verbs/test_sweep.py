"""`ontogeny sweep`: a grid of runs, resumable, on one page."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from ontogeny.core.errors import RunFailedError, StoreError
from ontogeny.store.lock import RunLock
from ontogeny.store.run import open_run
from ontogeny.store.schema import LOCK, PROVENANCE
from ontogeny.store.writer import RunWriter
from ontogeny.verbs import sweep as verb
from ontogeny.verbs import sweep_processes
from ontogeny.verbs.signals import ended_by_signals
from ontogeny.verbs.sweep import _digest, sweep
from ontogeny.verbs.sweep_points import Point, points_of, split_values
from ontogeny.verbs.sweep_processes import Command, SweepInterruptedError, run_all
from tests.small_runs import write_text
from tests.store import scenarios
from tests.verbs.conftest import Call
from tests.verbs.test_analyze import RECIPE


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_text(tmp_path / "words")
    path = tmp_path / "tiny.yaml"
    text = RECIPE.format(texts=tmp_path / "words" / "*.txt")
    text = text.replace("{kind: compression, k: 5}, reproduction, {kind: ledger, share: 1.0}", "token_nll")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_grid_with_seeds(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    arguments = ["sweep", recipe, "--vary", "train.lr=0.001,0.02", "--seeds", 2, "--runs", runs, "--json"]
    called = ontogeny(*arguments)
    assert called.code == 0, called.err
    found = called.json()
    table = pd.read_csv(found["table"])
    assert found["runs"] == len(table) == len(list(runs.glob("tiny-*/provenance.json"))) == 4
    assert sorted(table["train.lr"].unique()) == [0.001, 0.02]
    assert table.groupby("train.lr")["nll train"].mean().is_monotonic_decreasing  # a higher rate learns more in 8 steps
    assert Path(found["page"]).exists()
    assert any("train.lr: 0.02 against 0.001: -" in line for line in found["effects"])
    assert any("fewer than 5 seeds: no claim" in line for line in found["effects"])
    # The last run shared its process with another one; alone, it is the same bit for bit.
    one = (
        "run",
        recipe,
        "train.lr=0.02",
        "train.seed=1",
        "--runs",
        tmp_path / "alone",
        "--no-page",
        "--quiet",
        "--json",
    )
    alone = Path(ontogeny(*one).json()["run"])
    both = [open_run(folder / alone.name).checkpoints[-1].place for folder in (alone.parent, runs)]
    assert both[0].weights_sha256 == both[1].weights_sha256
    before = {path: path.stat().st_mtime for path in runs.glob("tiny-*/checkpoints/*/MANIFEST.json")}
    again = ontogeny(*arguments)
    assert again.code == 0
    assert {path: path.stat().st_mtime for path in runs.glob("tiny-*/checkpoints/*/MANIFEST.json")} == before


@pytest.mark.slow
def test_one_run_that_fails_does_not_stop_the_others(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    called = ontogeny("sweep", recipe, "--vary", "train.lr=0.001,1e30", "--seeds", 1, "--runs", tmp_path / "runs")
    assert called.code == 3
    assert "1 of 2 runs failed, the first with: step" in called.err
    (folder,) = (tmp_path / "runs").glob("tiny-sweep-*")
    points = json.loads((folder / "sweep.json").read_text())["points"]
    assert [point["error"] is None for point in points] == [True, False]
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (["train.lr"], "--vary train.lr: write KEY=VALUE,VALUE"),
        (["train.lr=1,"], "write KEY=VALUE,VALUE"),
        (["train.seed=1,2"], "--vary train.seed: say --seeds N"),
        (["train.lr=0.1,0.2", "train.lr=0.1"], "it is varied twice"),
        (["train.lr=0.1,0.1"], "the same run, (train.lr=0.1  seed 0) and (train.lr=0.1  seed 0): leave one out"),
        (["train.lrr=0.1,0.2"], "train.lrr"),
        (["train.controls=[],[{kind: x"], "a bracket or quote is not closed"),
        (["base.train.seed=1,2"], "--vary base.train.seed: say --base-seeds"),
        (["base.model.size=pico,nano"], "this one starts from none"),
    ],
)
def test_wrong_use_is_one_line(ontogeny: Call, recipe: Path, tmp_path: Path, vary: list[str], said: str) -> None:
    called = ontogeny("sweep", recipe, *(part for one in vary for part in ("--vary", one)), "--runs", tmp_path / "runs")
    assert called.code == 2
    assert said in called.err
    assert called.err.count("\n") == 1


@pytest.mark.parametrize("levels", ["4.9,x", "", "-1", "nan"])
def test_levels_that_are_no_losses_are_one_line(ontogeny: Call, recipe: Path, tmp_path: Path, levels: str) -> None:
    called = ontogeny("sweep", recipe, "--levels", levels, "--runs", tmp_path / "runs")
    assert called.code == 2
    assert "write losses of new text in nats, for instance  --levels 4.9,4.8,4.7" in called.err


def test_a_second_sweep_in_the_folder_is_told_in_one_line(recipe: Path, tmp_path: Path) -> None:
    points = points_of(str(recipe), [], [], 1, tmp_path)
    folder = tmp_path / f"tiny-sweep-{_digest(points)}"
    folder.mkdir()
    lock = RunLock(folder / LOCK)
    with pytest.raises(StoreError, match="is being written by process"):
        sweep(points, runs_dir=tmp_path, jobs=1, tell=print)
    lock.release()


def test_an_interrupted_sweep_says_how_to_go_on(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(str(recipe), [], ["train.lr=0.1,0.2"], 1, tmp_path)

    def stop(commands: list[Command], *rest: object) -> None:
        rest[-1][commands[0].key] = None  # type: ignore[index]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr(verb, "run_all", stop)
    with pytest.raises(SweepInterruptedError, match="interrupted after 1 of 2 runs; the same command goes on"):
        sweep(points, runs_dir=tmp_path, jobs=1, tell=print)
    (listed,) = tmp_path.glob("tiny-sweep-*/sweep.json")
    assert [point["error"] for point in json.loads(listed.read_text())["points"]] == [None, "not finished"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


STUB = """
import json, os, pathlib, signal, sys, time
threads = os.environ["OMP_NUM_THREADS"]
for line in sys.stdin:
    arguments = json.loads(line)
    name, folder = arguments[1], pathlib.Path(arguments[3])
    code, said = 0, ""
    if name == "held" and not (folder / "free").exists():
        (folder / "free").touch()
        code, said = 3, "a warning\\nontogeny: runs/x is being written by process 7 on host: wait or stop it\\n"
    elif name == "wrong":
        code, said = 3, "ontogeny: the loss is no number\\n"
    elif name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        print("a library's warning", file=sys.stderr, flush=True)
    if name == "quick" or name == "other":
        (folder / name).touch()
    if name == "long":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as `end_with` does
        try:
            (folder / name).touch()  # inside: an interrupt may come at once
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / "saved").touch()
            code = 130
    with open(folder / "order", "a") as order:
        order.write(f"{name} ")
    with open(folder / "threads", "a") as file:
        file.write(f"{threads} ")
    print(json.dumps({"code": code, "said": said}), flush=True)
    if code:
        break
(folder / "ended").touch()
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Instead of `ontogeny run`: quick, held by another process the first time, wrong, killed, or long."""
    code = tmp_path / "stub.py"
    code.write_text(STUB)
    start = subprocess.Popen
    monkeypatch.setattr(sweep_processes.subprocess, "Popen", lambda words, **how: start([words[0], str(code)], **how))
    return tmp_path


def command(name: str, after: str | None = None) -> Command:
    return Command(key=name, words=name, name=name, arguments=[name], after=(after,) if after else ())


def test_every_run_has_the_threads_that_are_asked_for(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left to do: one run alone gets no more than four that go on at a time."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # of the sweep's own process
    run_all([command("quick")], stub, 4, 3, print, {})
    run_all([command("quick"), command("other"), command("wrong")], stub, 2, 3, print, {})
    assert (stub / "threads").read_text().split() == ["3"] * 4


def points_in(folder: Path, recipe: Path) -> list[Point]:
    return points_of(str(recipe), [], ["train.lr=0.1,0.2"], 2, folder)


def test_threads_depend_on_the_whole_sweep_and_not_on_what_is_left(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    points = points_in(tmp_path, recipe)
    folder = tmp_path / "sweep"
    told: list[str] = []
    assert verb.threads_of_a_run(points, folder, None, told.append) == 2  # 8 cores, 4 runs at a time
    assert verb.threads_of_a_run(points, folder, 1, told.append) == 8
    folder.mkdir()
    verb._list(folder, points, {point.run.name: None for point in points[:3]}, 2)
    assert verb.threads_of_a_run(points, folder, 1, told.append) == 2  # as it began
    assert told == []
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert verb.threads_of_a_run(points, folder, 1, told.append) == 2
    assert told == ["every run goes on with 2 threads, as the sweep began; OMP_NUM_THREADS is 5"]
    assert verb.threads_of_a_run(points, tmp_path / "new", None, told.append) == 5  # what the user says
    assert len(told) == 1


def test_a_sweep_of_an_earlier_version_goes_on_with_the_threads_of_its_runs(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    points = points_in(tmp_path, recipe)
    scenarios.create(points[1].run).close()
    with RunWriter.attach(points[1].run) as writer:
        writer.update_provenance(environment={"threads": 3})
    folder = tmp_path / "sweep"
    assert verb.threads_of_a_run(points, folder, 1, print) == 5  # the sweep has not begun
    folder.mkdir()
    assert verb.threads_of_a_run(points, folder, 1, print) == 3


def test_a_run_that_another_process_writes_is_waited_for(stub: Path) -> None:
    told: list[str] = []
    found: dict[str, str | None] = {}
    run_all([command("held"), command("quick")], stub, 1, 1, told.append, found)
    assert found == {"quick": None, "held": None}
    assert told[0] == "waiting for held: runs/x is being written by process 7 on host"
    assert told[1:] == ["1/2  quick  quick", "2/2  held  held"]


def test_a_run_that_fails_or_dies_leaves_the_others(stub: Path) -> None:
    found: dict[str, str | None] = {}
    run_all([command(one) for one in ("wrong", "quick", "dies", "other")], stub, 1, 1, print, found)
    assert found == {"wrong": "the loss is no number", "quick": None, "dies": "killed by SIGKILL", "other": None}


def test_a_sweep_in_the_background_ends_its_processes(stub: Path) -> None:
    """A shell starts it deaf to interrupts, and what it starts is deaf, too; what waits for a command still ends."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run_all([command("quick")], stub, 1, 1, print, {})
    finally:
        signal.signal(signal.SIGINT, before)
    assert (stub / "ended").exists()


def test_a_worker_hears_interrupts_whoever_started_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        worker = subprocess.Popen(
            [sys.executable, "-m", "ontogeny.cli_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(["--version"]) + "\n")
    worker.stdin.flush()
    assert json.loads(worker.stdout.readline()) == {"code": 0, "said": ""}
    worker.send_signal(signal.SIGINT)
    assert worker.wait(60) == 0  # its standard input is open still


def test_nohup_is_heeded_and_two_signals_are_one_interrupt() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    with ended_by_signals():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_damaged_run_does_not_stop_the_others(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(str(recipe), [], ["train.lr=0.1,0.2"], 1, tmp_path)
    points[0].run.mkdir()
    (points[0].run / PROVENANCE).write_text("{")
    ran: list[str] = []

    def run(commands: list[Command], *rest: object) -> None:
        ran.extend(one.key for one in commands)
        rest[-1].update({one.key: "no" for one in commands})  # type: ignore[attr-defined]

    monkeypatch.setattr(verb, "run_all", run)
    with pytest.raises(RunFailedError, match=r"2 of 2 runs failed, the first with: .* is damaged"):
        sweep(points, runs_dir=tmp_path, jobs=1, tell=print)
    assert ran == [points[1].run.name]


def test_a_run_waits_for_what_it_starts_from(stub: Path) -> None:
    """Others run meanwhile; from a model that could not be trained nothing starts, and nothing from that."""
    told: list[str] = []
    found: dict[str, str | None] = {}
    commands = [
        command("child", after="base"),
        command("base", after="held"),
        command("held"),
        command("quick"),
        command("wrong"),
        command("orphan", after="wrong"),
        command("orphans", after="orphan"),
    ]
    run_all(commands, stub, 2, 1, told.append, found)
    order = (stub / "order").read_text().split()
    assert [one for one in order if one in ("held", "base", "child")] == ["held", "held", "base", "child"]
    assert not {"orphan", "orphans"} & {*order}
    said = "a model that it starts from could not be trained: "
    assert {one for one, error in found.items() if error is None} == {"child", "base", "held", "quick"}
    assert found["orphan"] == f"{said}the loss is no number"
    assert found["orphans"] == f"{said}{said}the loss is no number"
    assert told[-1].startswith("7/7")


def test_runs_end_with_their_sweep(stub: Path) -> None:
    def interrupt() -> None:
        while not (stub / "long").exists():
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        run_all([command("long"), command("quick")], stub, 1, 1, print, {})
    assert (stub / "saved").exists()
    assert not (stub / "quick").exists()


def test_a_plan_runs_nothing(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    called = ontogeny(
        "sweep",
        recipe,
        "--vary",
        "train.lr=0.1,0.2",
        "--seeds",
        2,
        "--jobs",
        3,
        "--plan",
        "--json",
        "--runs",
        tmp_path / "runs",
    )
    assert called.code == 0, called.err
    found = called.json()
    assert (found["runs"], found["finished already"], found["to run"], found["processes"]) == (4, 0, 4, 3)
    assert "2 one after the other" in found["time"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2", ["1", "2"]),
        ("[],[{kind: x, a: [1, 2]}]", ["[]", "[{kind: x, a: [1, 2]}]"]),
        ("'a,b', c", ["'a,b'", "c"]),
        ("1,", ["1", ""]),
        ("", [""]),
    ],
)
def test_commas_within_brackets_part_nothing(text: str, values: list[str]) -> None:
    assert split_values(text) == values


@pytest.fixture
def child(recipe: Path, tmp_path: Path) -> Path:
    """Starts from the run of `recipe`."""
    text = recipe.read_text().replace("name: tiny", "name: child").replace("tokenizer: {vocab_size: 300}\n", "")
    path = tmp_path / "child.yaml"
    path.write_text(text.replace("{kind: ladder, size: pico}", f"{{kind: from_run, recipe: {recipe}}}"))
    return path


@pytest.mark.slow
def test_sizes_of_the_base(ontogeny: Call, child: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sizes = ("--vary", "base.model.size=pico,nano", "--seeds", 1, "--base-seeds")
    called = ontogeny("sweep", child, *sizes, "--runs", runs, "--json")
    assert called.code == 0, called.err
    assert called.err.count("tiny.yaml first  model.size=") == len(list(runs.glob("tiny-*/provenance.json"))) == 2
    table = pd.read_csv(called.json()["table"])
    assert table["parameters"].is_monotonic_increasing
    assert table["first train"].nunique() == 2
    page = Path(called.json()["page"]).read_text()
    assert "size pico" in page
    assert "size nano" in page


def test_seeds_of_the_base(child: Path, tmp_path: Path) -> None:
    """Each seed starts from a model of its own, whichever the rate; without --base-seeds all start from one."""
    points = points_of(str(child), [], ["train.lr=0.1,0.2"], 2, tmp_path, base_seeds=True)
    assert [point.recipe.model.overrides for point in points] == [(f"train.seed={seed}",) for seed in (0, 0, 1, 1)]
    plain = points_of(str(child), [], ["train.lr=0.1,0.2"], 2, tmp_path)
    assert {point.recipe.model.overrides for point in plain} == {()}


def arms_in(folder: Path, recipe: Path, second: str = "train: {lr: 0.02}") -> Path:
    folder.mkdir()
    for name, own in (("alone", ""), ("other", second)):
        (folder / f"{name}.yaml").write_text(f"extends: {recipe}\nname: arms-{name}\n{own}\n", encoding="utf-8")
    return folder


def test_each_recipe_of_a_folder_is_an_arm(recipe: Path, tmp_path: Path) -> None:
    """Two recipes, two seeds: seed by seed, in order of the files' names, with the overrides in each."""
    folder = arms_in(tmp_path / "arms", recipe)
    points = points_of(str(folder), ["train.batch=3"], [], 2, tmp_path)
    assert [(point.levels, point.seed) for point in points] == [
        ({"recipe": arm}, seed) for seed in (0, 1) for arm in ("alone", "other")
    ]
    assert {point.sweep for point in points} == {f"{tmp_path.name}-arms"}
    assert [point.source for point in points[:2]] == [str(folder / f"{arm}.yaml") for arm in ("alone", "other")]
    assert all(point.recipe.train is not None and point.recipe.train.batch == 3 for point in points)
    assert points_of(str(recipe), [], [], 1, tmp_path)[0].levels == {}  # a single one has no arm


def test_arms_that_are_judged_by_other_passages_are_refused(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    folder = arms_in(tmp_path / "arms", recipe, "data: {split_seed: 7}")
    called = ontogeny("sweep", folder, "--runs", tmp_path / "runs")
    assert called.code == 2
    assert "other.yaml has another data.split_seed than" in called.err
    assert called.err.count("\n") == 1


def test_a_folder_without_recipes_is_one_line(ontogeny: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    called = ontogeny("sweep", tmp_path / "empty", "--runs", tmp_path / "runs")
    assert called.code == 2
    assert "empty holds no recipe (*.yaml): name a recipe, or a folder with one for each arm" in called.err
