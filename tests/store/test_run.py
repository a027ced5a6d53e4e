import os
import subprocess
import sys
from pathlib import Path

import pytest

import ontogeny
from ontogeny.core.errors import StoreError
from ontogeny.store.run import open_run
from tests.store import scenarios


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "base"
    scenarios.make_base(path)
    return path


def test_a_run_shows_what_was_written(base: Path) -> None:
    run = ontogeny.open(base)
    assert (run.path, run.name) == (base, "base")
    assert run.recipe == {"name": "small"}
    assert run.recipe_yaml == "name: small\n"
    assert run.provenance == {"seed": 3, "format_version": 1}
    assert run.status["state"] == "created"
    assert run.findings == []
    assert run.measures == ["token_nll"]
    assert list(run.probes) == ["train"]
    assert run.samples["text"].tolist() == ["at 10", "at 20"]
    assert [checkpoint.step for checkpoint in run.checkpoints] == [10, 20]
    assert run.checkpoints[1].manifest["extra"] == {"metrics_rows": 12}
    assert len(run.metrics) == 12


def test_series_and_summary(tmp_path: Path) -> None:
    with scenarios.create(tmp_path / "run") as writer:
        for step, name, scope, value in [
            (0, "loss", "train", 4.0),
            (0, "nll", "novel", 5.0),
            (1, "loss", "train", 3.0),
            (1, "nll", "general", 6.0),
            (2, "nll", "novel", float("nan")),
        ]:
            writer.add_metric(step, name, scope, value)
    run = writer.run
    assert run.series("loss").values.tolist() == [[0, 4.0, "train"], [1, 3.0, "train"]]
    assert list(run.series("loss").columns) == ["step", "value", "scope"]
    assert run.series("nll")["scope"].tolist() == ["novel", "general", "novel"]
    assert run.series("nll", "general").values.tolist() == [[1, 6.0, "general"]]
    assert run.series("nll", "novel")["step"].tolist() == [0, 2]
    assert run.series("none").empty
    assert run.series("loss", "novel").empty
    summary = run.summary()
    assert list(summary.columns) == ["scope", "name", "step", "value"]
    assert summary.fillna(-1.0).values.tolist() == [
        ["general", "nll", 1, 6.0],
        ["novel", "nll", 2, -1.0],
        ["train", "loss", 1, 3.0],
    ]


def test_metrics_can_be_changed_by_the_caller_and_follow_the_writer(tmp_path: Path) -> None:
    with scenarios.create(tmp_path / "run") as writer:
        run = open_run(tmp_path / "run")
        assert run.metrics.empty
        assert run.summary().empty
        writer.add_metric(0, "loss", "train", 4.0)
        writer.flush()
        frame = run.metrics
        frame["value"] = 0.0
        assert run.metrics["value"].tolist() == [4.0]
        writer.add_metric(1, "loss", "train", 3.0)
        writer.flush()
        assert run.metrics["value"].tolist() == [4.0, 3.0]
        writer.rewind(0, 1)
        assert run.metrics["value"].tolist() == [4.0]


def test_what_is_not_a_run_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere: no such directory"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"is not a run: it has no provenance\.json$"):
        open_run(tmp_path)
    with pytest.raises(StoreError, match=rf"is not a run: .*; runs below it: {base}$"):
        open_run(base.parent)
    with pytest.raises(StoreError, match=rf"runs below it: .*{base}"):
        open_run(base.parent.parent)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    scenarios.create(tmp_path / "run").close()
    (tmp_path / "run" / "provenance.json").write_text('{"format_version": 2}')
    with pytest.raises(StoreError, match="has format 2, this version reads 1: update ontogeny"):
        open_run(tmp_path / "run")


def test_damage_is_named(tmp_path: Path) -> None:
    scenarios.create(tmp_path / "run").close()
    run = open_run(tmp_path / "run")
    for name, read in [("status.json", "status"), ("recipe.json", "recipe"), ("provenance.json", "provenance")]:
        (run.path / name).write_text("{")
        with pytest.raises(StoreError, match=f"{name} is damaged"):
            getattr(run, read)
    (run.path / "recipe.yaml").unlink()
    with pytest.raises(StoreError, match=r"recipe\.yaml is missing"):
        _ = run.recipe_yaml


def test_an_unknown_measure_names_the_closest(base: Path) -> None:
    with pytest.raises(StoreError, match="has no measure 'token_nl': did you mean 'token_nll'"):
        open_run(base).measure("token_nl")


def test_a_run_can_be_moved_and_has_no_path_inside(tmp_path: Path) -> None:
    scenarios.make_base(tmp_path / "here")
    before = scenarios.snapshot(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert scenarios.snapshot(tmp_path / "there") == before
    for path in (tmp_path / "there").rglob("*"):
        assert path.is_dir() or os.fsencode(tmp_path.name) not in path.read_bytes()


def test_opening_needs_neither_torch_nor_pickle(base: Path) -> None:
    program = f"""
import sys, time
import ontogeny
light = set(sys.modules)
assert not light & {{"numpy", "pandas", "pyarrow", "xarray", "zarr", "torch"}}, light
import pickle
def refuse(*_, **__): raise AssertionError("unpickled")
pickle.load = pickle.loads = pickle.Unpickler = refuse
run = ontogeny.open({str(base)!r})
run.metrics, run.samples, run.probes["train"], run.checkpoints, run.measure("token_nll").load()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b"])
def test_what_can_be_no_path_is_no_run(path: str) -> None:
    with pytest.raises(StoreError, match="no such directory"):
        open_run(path)
