"""A lost or changed file that the manifest lists is refused by name; what the writer removes is taken off before."""

import json
from pathlib import Path

import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store import metrics
from ontogeny.store.manifest import Listed
from ontogeny.store.run import Run, open_run
from ontogeny.store.verification import problems_of
from ontogeny.store.writer import RunWriter
from tests.store import scenarios


@pytest.fixture
def base(tmp_path: Path) -> Path:
    scenarios.make_base(tmp_path / "run")
    return tmp_path / "run"


def test_everything_that_is_written_once_is_listed(base: Path) -> None:
    listed = Listed(base).entries
    parts = [path.relative_to(base).as_posix() for path in base.glob("*/*.parquet")]
    assert sorted(listed) == sorted([*parts, "recipe.json", "recipe.yaml"])
    assert len(parts) == 3 + 2 + 1  # flushes, samples, a probe set
    # printf 'name: small\n' | sha256sum
    assert listed["recipe.yaml"].bytes == 12
    assert listed["recipe.yaml"].sha256 == "d9c7ad0987366663ad6f7b7ddb01a433a21a0a83c5693ab7c7b8bdceb9a54b2a"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_lost_part_is_noticed_also_the_last(base: Path, part: int) -> None:
    path = metrics.list_parts(base / "metrics")[part].path
    path.unlink()
    run = open_run(base)
    for use in (lambda: run.metrics, lambda: RunWriter.attach(base)):
        with pytest.raises(StoreError, match=f"{path.name} is missing: bring it back"):
            use()
    assert len(run.samples) == 2  # the rest is read


def test_lost_samples_and_probes_are_noticed(base: Path) -> None:
    run = open_run(base)
    for path in (*base.glob("samples/*"), *base.glob("probes/*")):
        intact = path.read_bytes()
        path.unlink()
        with pytest.raises(StoreError, match=f"{path.name} is missing: bring it back"):
            _ = run.samples, list(open_run(base).probes)
        path.write_bytes(intact)
    assert list(run.probes) == ["train"]


def test_files_that_are_listed_by_hand(base: Path) -> None:
    for name in ("tokenizer/a.json", "tokenizer/deep/b.json", "base/model"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(name)
    with RunWriter.attach(base) as writer:
        writer.list_files("tokenizer", "nowhere")
    run = open_run(base)
    for folder in ("tokenizer", "base", "nowhere"):
        run.verify_files(folder)
    (base / "base" / "model").write_text("not listed")
    run.verify_files("base")
    (base / "tokenizer" / "deep" / "b.json").write_text("tokenizer/deep/c.json")  # of the same length
    with pytest.raises(StoreError, match=r"deep/b\.json is damaged: its bytes are not those that were written"):
        run.verify_files("tokenizer")
    (base / "tokenizer" / "deep" / "b.json").unlink()
    with pytest.raises(StoreError, match=r"deep/b\.json is missing"):
        run.verify_files("tokenizer")


def test_a_run_without_a_manifest_is_read_and_gets_one_when_it_goes_on(base: Path) -> None:
    before = scenarios.snapshot(base)
    (base / "MANIFEST.json").unlink()
    _of_an_earlier_version(base)
    assert scenarios.snapshot(base) == before
    with RunWriter.attach(base) as writer:
        writer.add_metric(30, "loss", "train", 0.5)
    names = list(Listed(base).entries)
    assert sum(name.startswith("metrics/") for name in names) == 4  # the three that were there, and the new one
    next(base.glob("metrics/part-0000000000-*")).unlink()
    with pytest.raises(StoreError, match=r"part-0000000000-0000000004\.parquet is missing"):
        _ = open_run(base).metrics


def _of_an_earlier_version(run: Path) -> None:
    """Its provenance carries no checksum."""
    content = json.loads((run / "provenance.json").read_text())
    del content["file_sha256"]
    (run / "provenance.json").write_text(json.dumps(content))


def test_a_lost_manifest_is_told_and_no_writer_makes_another(base: Path) -> None:
    manifest = base / "MANIFEST.json"
    assert problems_of(open_run(base)) == []
    manifest.unlink()
    assert [problem.file for problem in problems_of(open_run(base))] == ["MANIFEST.json"]
    with pytest.raises(StoreError, match=r'run/MANIFEST\.json is missing.*write \{"files": \{\}\} into it'):
        RunWriter.attach(base)
    manifest.write_text('{"files": {}}')  # as it says
    RunWriter.attach(base).close()
    assert problems_of(open_run(base)) == []


def test_a_run_of_an_earlier_version_has_a_manifest_before_its_provenance_has_a_checksum(base: Path) -> None:
    """Killed in between, it would be taken for one whose manifest is lost."""
    (base / "MANIFEST.json").unlink()
    _of_an_earlier_version(base)
    with RunWriter.attach(base) as writer:
        writer.update_provenance(resumed=1)
        assert (base / "MANIFEST.json").exists()
        assert "file_sha256" in (base / "provenance.json").read_text()


@pytest.mark.parametrize("name", ["MANIFEST.json", "status.json", "findings.json"])
def test_a_link_to_nowhere_is_a_lost_file_and_not_one_that_never_was(base: Path, name: str) -> None:
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to("nowhere")
    run = open_run(base)
    with pytest.raises(StoreError, match=rf"run/{name} is missing"):
        _ = run.metrics, run.status, run.findings
    assert [problem.file for problem in problems_of(run)] == [name]


def test_a_status_or_a_provenance_of_something_else_is_named(base: Path) -> None:
    (base / "status.json").write_bytes((base / "provenance.json").read_bytes())  # whole, but another file's
    with pytest.raises(StoreError, match=r"status\.json is damaged: it names no state"):
        _ = open_run(base).status
    (base / "provenance.json").write_text("{}")
    with pytest.raises(StoreError, match=r"provenance\.json is damaged: it has no format_version"):
        open_run(base)
    assert {problem.file for problem in problems_of(Run(base))} == {"provenance.json", "status.json"}


def test_a_damaged_manifest_is_named(base: Path) -> None:
    manifest = base / "MANIFEST.json"
    content = json.loads(manifest.read_text())
    content["files"].popitem()
    for text in (json.dumps(content), "{", '{"files": {"recipe.yaml": {"bytes": "x"}}}', '{"files": []}'):
        manifest.write_text(text)
        with pytest.raises(StoreError, match=r"run/MANIFEST\.json is damaged"):
            _ = open_run(base).metrics


def test_samples_that_are_replaced_and_parts_that_are_cut_stay_true(base: Path) -> None:
    with RunWriter.attach(base) as writer:
        writer.add_samples(20, "generation", [scenarios.sample("anew")])
        writer.flush()
        assert writer.run.samples["text"].tolist() == ["at 10", "anew"]
        writer.rewind(10, 6)
    run = open_run(base)
    assert run.samples["text"].tolist() == ["at 10"]
    assert len(run.metrics) == 6
    assert {name for name in Listed(base).entries if name.startswith("metrics/")} == {
        "metrics/part-0000000000-0000000004.parquet",
        "metrics/part-0000000004-0000000006.parquet",
    }
