import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store.writer import RunWriter
from tests.store import scenarios
from tests.store.scenarios import place, save


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return scenarios.create(tmp_path / "run")


def stop_half_way(folder: Path, error: BaseException) -> None:
    (folder / "model" / "half").write_bytes(b"half")
    raise error


def test_a_checkpoint_says_what_it_holds(writer: RunWriter) -> None:
    writer.add_metric(1, "loss", "train", 1.0)
    save(writer, 10, "w")
    (checkpoint,) = writer.run.checkpoints
    assert checkpoint.path == writer.path / "checkpoints" / "step-00000010"
    assert checkpoint.step == 10
    assert checkpoint.place.weights_sha256 == "w10"
    assert checkpoint.place.flops_counted != checkpoint.place.flops_counted  # NaN came back
    assert (checkpoint.model_path / "model.safetensors").read_bytes() == b"weights w10"
    assert (checkpoint.trainer_path / "state.json").read_text() == "{}"
    assert checkpoint.manifest["extra"] == {"metrics_rows": 0}  # as it was when the block was entered…
    assert writer.metrics_rows == 1  # …and then metrics were flushed first
    assert {name: file["bytes"] for name, file in checkpoint.manifest["files"].items()} == {
        "model/model.safetensors": 11,
        "trainer/state.json": 2,
    }
    # printf '{}' | sha256sum
    expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert checkpoint.manifest["files"]["trainer/state.json"]["sha256"] == expected
    json.loads((checkpoint.path / "MANIFEST.json").read_text(), parse_constant=pytest.fail)
    checkpoint.verify()


def test_a_flipped_byte_is_refused_and_the_checkpoint_before_offered(writer: RunWriter) -> None:
    for step in (10, 20):
        save(writer, step, "w")
    first, second = writer.run.checkpoints
    weights = second.model_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(StoreError, match=r"step-00000020/model/model\.safetensors is damaged.*before it is step 10"):
        second.verify()
    first.verify()
    (first.trainer_path / "state.json").unlink()
    with pytest.raises(StoreError, match=r"state\.json is missing; there is no checkpoint before step 10"):
        first.verify()


def lose(manifest: Path) -> None:
    manifest.unlink()


def tear(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:40])


def move(manifest: Path) -> None:
    manifest.parent.rename(manifest.parent.with_name("step-00000021"))


def change(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes().replace(b'"metrics_rows": 0', b'"metrics_rows": 1'))


@pytest.mark.parametrize("harm", [lose, tear, move, change])
def test_a_checkpoint_without_a_valid_manifest_is_refused_and_never_overwritten(
    writer: RunWriter, harm: Callable[[Path], None]
) -> None:
    for step in (10, 20):
        save(writer, step, "w")
    folder = writer.path / "checkpoints"
    harm(folder / "step-00000020" / "MANIFEST.json")
    with pytest.raises(StoreError, match=r"step-0000002[01]/MANIFEST\.json is .*move .* out of the run"):
        _ = writer.run.checkpoints
    if harm is not move:
        with pytest.raises(StoreError, match=r"step-00000020/MANIFEST\.json is"):
            save(writer, 20, "other")
        assert (folder / "step-00000020" / "model" / "model.safetensors").read_bytes() == b"weights w20"
    (folder / ("step-00000021" if harm is move else "step-00000020")).rename(writer.path / "aside")
    assert [checkpoint.step for checkpoint in writer.run.checkpoints] == [10]


def test_an_exception_leaves_nothing(writer: RunWriter) -> None:
    with pytest.raises(KeyboardInterrupt), writer.checkpoint(place(10)) as folder:
        stop_half_way(folder, KeyboardInterrupt())
    assert list((writer.path / "checkpoints").iterdir()) == []


def test_the_same_state_again_is_kept_and_another_replaces_it(writer: RunWriter) -> None:
    save(writer, 10, "w")
    (checkpoint,) = writer.run.checkpoints
    written = (checkpoint.path / "MANIFEST.json").stat().st_mtime_ns
    save(writer, 10, "w")
    assert (checkpoint.path / "MANIFEST.json").stat().st_mtime_ns == written
    save(writer, 10, "other")
    (replaced,) = writer.run.checkpoints
    assert replaced.place.weights_sha256 == "other10"
    assert (replaced.model_path / "model.safetensors").read_bytes() == b"weights other10"
    replaced.verify()
    (replaced.model_path / "model.safetensors").write_bytes(b"weights damaged")
    save(writer, 10, "other")  # the same weights, but what is there is damaged
    writer.run.checkpoints[0].verify()
    assert [path.name for path in (writer.path / "checkpoints").iterdir()] == ["step-00000010"]


def test_what_is_kept_beside_must_be_json(writer: RunWriter) -> None:
    for extra in ({"best": float("nan")}, {"path": Path("a")}):
        with pytest.raises(TypeError, match="must be JSON with finite numbers"), writer.checkpoint(place(1), extra):
            pass
