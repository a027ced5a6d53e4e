"""Any file of a run is damaged at random: it is refused by its name, or nothing that is read has changed.

Planted are bits flipped, files cut, files removed, bytes zeroed. Files of results that are computed again (findings,
audit, analyses) say nothing when they are gone, since then there simply are none yet: for them, removal is left out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.recipe_file import validate
from ontogeny.runs.example_difficulty import example_nll
from ontogeny.runs.execute import execute
from ontogeny.runs.parents import recipe_of
from ontogeny.store import durable, schema
from ontogeny.store.run import Run, open_run
from ontogeny.store.verification import problems_of
from ontogeny.store.writer import RunWriter
from ontogeny.train.anchors import read_anchors
from ontogeny.verbs.diagnose import diagnose_run
from tests.small_runs import tree, write_text

COMPUTED_AGAIN = ("findings.json", "audit.json", "analyses/")
FOR_PEOPLE = ("figures/", "report.html", "report.txt", "summary.csv", ".lock")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of file; `base/` and `written/`, which other recipes bring, are planted."""
    folder = tmp_path_factory.mktemp("corruption")
    changes = {
        "train": {"epochs": 1, "batch": 6, "lr": 0.01, "order": {"kind": "by_difficulty"}},
        "objective": ["next_token", {"kind": "l2_start", "weight": 0.01}],
        "checkpoints": {"every_steps": 4},
        "measures": ["evaluation", "token_nll", {"kind": "generation", "at": {"every_steps": 4}}],
    }
    path = execute(validate(tree(write_text(folder / "words"), **changes), "test"), runs_dir=folder / "runs")
    for name in ("base/config.json", "written/dreams.jsonl"):
        (path / name).parent.mkdir()
        (path / name).write_text("{}\n" * 20)
    with RunWriter.attach(path) as writer:
        writer.list_files("base", "written")
    diagnose_run(path)
    durable.make_folder(path / schema.ANALYSES_FOLDER)
    durable.write_json(path / schema.ANALYSES_FOLDER / "groups.json", {"verdict": "planted", "numbers": {"n": 3}})
    durable.write_json(path / schema.AUDIT, {schema.VERDICTS: [{"check": "loss"}]})
    return path


def everything(path: Path) -> dict[str, Any]:
    """All that is read of a run, by what it is, as bytes or text that can be compared (NaN equals NaN)."""
    run = open_run(path)
    recipe = recipe_of(run)
    for folder in ("tokenizer", "base", "written"):
        run.verify_files(folder)
    anchors = read_anchors(recipe, path)
    rows = run.metrics
    return {
        "recipe": repr(run.recipe),
        "recipe.yaml": run.recipe_yaml,
        "provenance": repr(run.provenance),
        "status": repr(run.status),
        "metrics": (rows.to_csv(), rows["value"].to_numpy().tobytes()),
        "samples": run.samples.to_csv(),
        "probes": {name: _plain(probe_set.__dict__) for name, probe_set in run.probes.items()},
        "measures": {name: _arrays(run, name) for name in run.measures},
        "checkpoints": _checkpoints(run),
        "findings": repr(run.findings),
        "analyses": repr(run.analyses),
        "anchors": {name: {k: t.numpy().tobytes() for k, t in kept.items()} for name, kept in anchors.items()},
        "order": example_nll(recipe, path, None, None, {}).tobytes(),  # type: ignore[arg-type, union-attr]
    }


def _plain(value: object) -> str:
    with np.printoptions(threshold=10**9):
        return repr(value)


def _arrays(run: Run, name: str) -> dict[str, Any]:
    dataset = run.measure(name).load()
    values = {
        str(key): (
            repr(array.attrs),
            array.dims,
            np.ascontiguousarray(array.values.astype(_fixed(array.dtype))).tobytes(),
        )
        for key, array in dataset.variables.items()
    }
    return {**values, "attributes": repr(dataset.attrs)}


def _fixed(dtype: np.dtype) -> Any:
    return str if dtype.kind in "OUT" else dtype


def _checkpoints(run: Run) -> list[str]:
    for checkpoint in run.checkpoints:
        checkpoint.verify()
    return [repr((checkpoint.place, checkpoint.manifest)) for checkpoint in run.checkpoints]


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content)))
    return content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :]


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def zero(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    return content[:start] + b"\0" * (end - start) + content[end:]


HARMS: tuple[Callable[[bytes, np.random.Generator], bytes] | None, ...] = (flip, cut, zero, None)
"""None removes the file."""


def kind_of(name: str) -> str:
    """Files that are written and read alike."""
    parts = name.split("/")
    return "/".join([parts[0], parts[-1]] if parts[-1].endswith(("json", "yaml", "safetensors")) else [parts[0]])


def plans(whole: Path, count: int, seed: int) -> list[tuple[str, int]]:
    """Files and harms: every kind of file in turn, a random file of it, each harm as often as the others."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[str]] = {}
    for path in sorted(path for path in whole.rglob("*") if path.is_file() and path.stat().st_size):
        name = path.relative_to(whole).as_posix()
        if not name.startswith(FOR_PEOPLE):
            kinds.setdefault(kind_of(name), []).append(name)
    chosen = []
    while len(chosen) < count:
        for names in kinds.values():
            name = names[int(rng.integers(len(names)))]
            harm = int(rng.integers(len(HARMS)))
            if HARMS[harm] is not None or not name.startswith(COMPUTED_AGAIN):
                chosen.append((name, harm))
    return chosen[:count]


def damage(path: Path, harm: int, rng: np.random.Generator) -> None:
    content, change = path.read_bytes(), HARMS[harm]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(content, rng))


def carry_out(whole: Path, count: int, seed: int) -> tuple[int, list[str]]:
    """How many corruptions were refused, and a line for each that was neither refused by name nor harmless."""
    before, rng = everything(whole), np.random.default_rng(seed)
    refused, wrong = 0, []
    for name, harm in plans(whole, count, seed):
        path = whole / name
        intact = path.read_bytes()
        damage(path, harm, rng)
        try:
            now = everything(whole)
            wrong += [f"{name}: {part} changed silently" for part in before if now[part] != before[part]]
        except OntogenyError as error:
            refused += 1
            wrong += [] if path.name in str(error) else [f"{name}: not named in: {error}"]
            told = {problem.file for problem in problems_of(Run(whole))}
            wrong += [] if name in told else [f"{name}: verify names only {sorted(told)}"]
        except Exception as error:  # noqa: BLE001 - a traceback is what must not be
            wrong.append(f"{name}: {type(error).__name__}: {error}")
        path.write_bytes(intact)
    return refused, wrong


@pytest.mark.slow
def test_forty_corruptions_are_refused_by_name_or_harmless(whole: Path) -> None:
    refused, wrong = carry_out(whole, 40, seed=0)
    assert wrong == []
    assert refused > 25  # what is left fell on blanks, or zeroed or cut nothing


@pytest.mark.slow
def test_five_hundred_corruptions_are_refused_by_name_or_harmless(whole: Path) -> None:
    refused, wrong = carry_out(whole, 500, seed=1)
    assert wrong == []
    assert refused > 350


def test_every_kind_of_file_is_among_them(whole: Path) -> None:
    names = [name for name, _ in plans(whole, 120, seed=0)]
    for begin in (
        *("recipe.yaml", "recipe.json", "provenance.json", "status.json", "MANIFEST.json", "order.json"),
        *("findings.json", "audit.json", "analyses/", "metrics/", "samples/", "probes/", "trajectory.zarr/"),
        *("checkpoints/", "tokenizer/", "base/", "written/", "remembered/"),
    ):
        assert any(name.startswith(begin) for name in names), begin
    for end in ("slots.json", "zarr.json", "c.0", "model.safetensors", "optimizer.safetensors", "state.json"):
        assert any(name.endswith(end) for name in names), end


def test_a_whole_run_has_no_problems(whole: Path) -> None:
    assert problems_of(open_run(whole)) == []
    assert everything(whole) == everything(whole)


@pytest.mark.slow
def test_a_reader_that_checks_nothing_is_caught(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail: without the run's manifest, changed files pass."""
    from ontogeny.store import manifest

    monkeypatch.setattr(manifest, "_read", lambda path: {})
    monkeypatch.setattr("ontogeny.store.checksums.unsealed", lambda value: value)
    _, wrong = carry_out(whole, 60, seed=2)
    assert any("changed silently" in line for line in wrong)


def test_the_error_is_of_the_store(whole: Path) -> None:
    part = next((whole / "metrics").iterdir())
    intact = part.read_bytes()
    part.write_bytes(intact[:-1])
    with pytest.raises(StoreError, match=part.name):
        everything(whole)
    part.write_bytes(intact)
