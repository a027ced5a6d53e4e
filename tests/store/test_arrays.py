import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from ontogeny.core.errors import StoreError
from ontogeny.store import arrays, durable, schema
from ontogeny.store.slots import expected_chunks
from ontogeny.store.verification import problems_of
from ontogeny.store.writer import RunWriter
from tests.store import scenarios
from tests.store.scenarios import place, result

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return scenarios.create(tmp_path / "run")


def everything() -> xr.Dataset:
    """Every dtype, every kind of axis, values that are lost easily."""
    attributes = {"units": "1", "long_name": "x"}
    return xr.Dataset(
        {
            "single": ("token", np.array([np.nan, -np.inf, 1e-45, -0.0], np.float32), attributes),
            "double": (("probe", "block"), np.array([[0.1, np.nan], [np.inf, 3.0]]), attributes),
            "half": ("own", np.array([0.5, np.nan], np.float16), attributes),
            "rank": ("token", np.array([0, -1, 2**31 - 1, 5], np.int32), {**attributes, "of": "the true token"}),
            "small": ("token", np.array([0, 1, 2, 255], np.uint8), attributes),
            "right": ("token", np.array([False, True, False, True]), attributes),
            "text": ("probe", np.array(["é\n", ""]), attributes),
            "seconds": ((), 0.0, {"units": "seconds", "long_name": "not a time delta to be decoded"}),
            "none": ("item", np.empty(0, np.float32), attributes),
        },
        coords={
            "probe": ["train", "novel set"],
            "own": [0.5, np.nan],
            "probe_of_token": ("token", np.array(["train", "novel set", "train", "x"], object)),
            "position": ("token", np.arange(4, dtype=np.int16)),
            "temperature": 0.0,
            "zeros": ("token", np.zeros(4, np.int64)),
        },
        attrs={"k": 32, "kinds": ["a", "b"]},
    )


def test_everything_comes_back(writer: RunWriter) -> None:
    given = everything()
    writer.put_measure("all", place(0), given)
    writer.put_measure("all", place(10), given)
    read = writer.run.measure("all")
    assert list(read.data_vars) == list(given.data_vars)
    assert read.attrs == given.attrs
    assert set(read.coords) == {*given.coords, *schema.CHECKPOINT_COORDINATES}
    for i in range(2):
        state = read.isel(checkpoint=i).drop_vars(schema.CHECKPOINT_COORDINATES).load()
        xr.testing.assert_identical(state.drop_vars("text"), given.drop_vars("text"))
        assert state["text"].values.tolist() == ["é\n", ""]
        for name in set(given.variables) - {"text", "probe_of_token", "probe"}:
            assert state[name].dtype == given[name].dtype
        assert state["single"].values.tobytes() == given["single"].values.tobytes()  # the sign of zero, too
    assert read["probe_of_token"].dtype.kind == "U"
    assert read.sel(probe="novel set")["double"].values.tolist() == [[np.inf, 3.0], [np.inf, 3.0]]


def test_the_axis_carries_places_and_is_sorted_by_step(writer: RunWriter) -> None:
    for step in (20, 0, 10):  # in the order of a backfill
        writer.put_measure("token_nll", place(step), result(step))
    read = writer.run.measure("token_nll")
    assert read["step"].values.tolist() == [0, 10, 20]
    assert read["epoch"].values.tolist() == [0.0, 1.0, 2.0]
    assert read["tokens_seen"].values.tolist() == [0, 1000, 2000]
    assert read["flops"].values.tolist() == [0.0, 6e10, 12e10]
    assert np.isnan(read["flops_counted"].values).all()
    assert read["weights_sha256"].values.tolist() == ["w0", "w10", "w20"]
    assert read["nll"].values.tolist() == [[0.0] * 3, [10.0] * 3, [20.0] * 3]
    assert read["nll"].attrs == {"units": "nats", "long_name": "NLL"}


def test_reading_is_lazy(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "CHUNK_TOKENS", 4)
    for step in (0, 10):
        writer.put_measure("token_nll", place(step), result(step, tokens=10))
    folder = writer.path / "trajectory.zarr" / "token_nll" / "nll"
    # one chunk holds one checkpoint and at most 4 tokens: 2 x ceil(10 / 4) = 6 chunks
    assert sorted(path.name for path in folder.glob("c.*")) == ["c.0.0", "c.0.1", "c.0.2", "c.1.0", "c.1.1", "c.1.2"]
    read = writer.run.measure("token_nll")
    for name in ("c.0.0", "c.0.1", "c.0.2", "c.1.0", "c.1.2"):
        (folder / name).write_bytes(b"not to be read")
    assert read["nll"].isel(checkpoint=1, token=slice(4, 8)).values.tolist() == [10.0] * 4
    with pytest.raises(StoreError, match=r"nll/c\.1\.0 is damaged"):  # negative control
        _ = read["nll"].isel(checkpoint=1, token=slice(3, 8)).values


def test_the_same_step_again_replaces(writer: RunWriter) -> None:
    for step, value in ((0, 0.0), (10, 1.0), (20, 2.0), (10, 3.0), (0, 4.0), (10, 5.0)):
        writer.put_measure("token_nll", place(step), result(value))
    read = writer.run.measure("token_nll")
    assert read["step"].values.tolist() == [0, 10, 20]
    assert read["nll"].values[:, 0].tolist() == [4.0, 5.0, 2.0]
    writer.close()
    with RunWriter.attach(writer.path) as again:  # what no slot refers to is removed, and the rest goes on
        folder = writer.path / "trajectory.zarr" / "token_nll" / "nll"
        assert sorted(path.name for path in folder.glob("c.*")) == ["c.2.0", "c.4.0", "c.5.0"]
        again.put_measure("token_nll", place(20), result(6.0))
    assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == [4.0, 5.0, 6.0]


def test_a_dataset_opened_before_still_reads_what_it_saw(writer: RunWriter) -> None:
    writer.put_measure("token_nll", place(0), result(0.0))
    early = writer.run.measure("token_nll")
    writer.put_measure("token_nll", place(0), result(1.0))
    writer.put_measure("token_nll", place(10), result(2.0))
    assert early["nll"].values.tolist() == [[0.0] * 3]


@pytest.mark.parametrize("step", [-1, 0, 5, 10, 20])
def test_a_rewind_drops_later_states(writer: RunWriter, step: int) -> None:
    for at in (20, 0, 10):
        writer.put_measure("token_nll", place(at), result(at))
    writer.put_measure("late", place(20), result(20.0))
    writer.rewind(step, 0)
    kept = [at for at in (0, 10, 20) if at <= step]
    assert writer.run.measures == (["late"] if step == 20 else []) + (["token_nll"] if kept else [])
    if kept:
        assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == kept
    writer.put_measure("token_nll", place(30), result(30.0))
    writer.put_measure("late", place(30), result(30.0, tokens=3 if step == 20 else 7))  # else it starts anew
    assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == [*kept, 30]


def changed(**changes: object) -> xr.Dataset:
    return result(1.0).assign(**changes)


NLL = result(1.0)["nll"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (result(1.0, tokens=4), r"'(nll|probe_of_token)' had \((checkpoint: 1, )?token: 3\) before, now .*token: 4\)"),
        (changed(nll=NLL.astype(np.float64)), "'nll' had float32 before, now float64"),
        (changed(nll=NLL.assign_attrs(units="bits")), "'nll' had .*nats.* before, now .*bits"),
        (changed(rank=NLL), r"'rank' had \(checkpoint: 1\) before, now \(checkpoint: 1, token: 3\)"),
        (changed(more=NLL), "variable 'more' was not there before"),
        (result(1.0).drop_vars("rank"), "variable 'rank' is missing now"),
        (result(1.0).drop_vars("probe_of_token"), "coordinate 'probe_of_token' is missing now"),
        (
            result(1.0).assign_coords(probe_of_token=("token", ["train"] * 3)),
            "coordinate 'probe_of_token' has other val",
        ),
        (result(1.0).assign_attrs(k=50), "its attributes had {} before, now {'k': 50}"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(writer: RunWriter, dataset: xr.Dataset, message: str) -> None:
    writer.put_measure("token_nll", place(0), result(0.0))
    with pytest.raises(StoreError, match=message):
        writer.put_measure("token_nll", place(10), dataset)
    writer.put_measure("token_nll", place(10), result(10.0))
    assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == [0.0, 10.0]


def with_more(value: float) -> xr.Dataset:
    """What a later version of the measure records: one more variable, on an axis of its own."""
    more = ("passage", np.array([value, value + 1]), {"units": "nats", "long_name": "more", "added_later": 1})
    return result(value).assign(more=more).assign_coords(passage_id=("passage", np.arange(2)))


def test_a_run_of_an_earlier_version_goes_on_without_what_was_added_later(writer: RunWriter) -> None:
    writer.put_measure("token_nll", place(0), result(0.0))
    writer.put_measure("token_nll", place(10), with_more(10.0))
    seen = writer.run.measure("token_nll")
    assert seen["nll"].values[:, 0].tolist() == [0.0, 10.0]
    assert "more" not in seen
    assert "passage_id" not in seen.coords


def test_a_run_that_began_with_it_keeps_it_and_may_not_lose_it(writer: RunWriter) -> None:
    for step in (0, 10):
        writer.put_measure("token_nll", place(step), with_more(step))
    assert writer.run.measure("token_nll")["more"].values.tolist() == [[0, 1], [10, 11]]
    with pytest.raises(StoreError, match="coordinate 'passage_id' is missing now"):
        writer.put_measure("token_nll", place(20), result(20.0))


def test_a_lost_chunk_is_an_error_and_not_a_zero(writer: RunWriter) -> None:
    for step in (0, 10):
        writer.put_measure("token_nll", place(step), result(0.0))  # zeros are written like any other value
    group = writer.path / "trajectory.zarr" / "token_nll"
    for lost in ("rank/c.1", "nll/c.0.0", "probe_of_token/c.0"):
        backup = group.with_name("backup")
        shutil.copytree(group, backup)
        (group / lost).unlink()
        with pytest.raises(StoreError, match=f"{lost} is missing"):
            writer.run.measure("token_nll")
        shutil.rmtree(group)
        backup.rename(group)
    assert writer.run.measure("token_nll")["rank"].values.tolist() == [0, 0]


def test_a_flipped_byte_in_a_chunk_is_noticed(writer: RunWriter) -> None:
    rng = np.random.default_rng(0)
    data = result(0.0, tokens=1000)
    data["nll"].values[:] = rng.random(1000)
    writer.put_measure("token_nll", place(0), data)
    chunk = writer.path / "trajectory.zarr" / "token_nll" / "nll" / "c.0.0"
    content = bytearray(chunk.read_bytes())
    content[2000] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match=r"nll/c\.0\.0 is damaged: it does not have its checksum"):
        _ = writer.run.measure("token_nll")["nll"].values


@pytest.mark.parametrize("target", [None, "nowhere", "c.0.0"], ids=["a folder", "a link to nowhere", "to itself"])
def test_what_is_no_file_in_a_chunks_place_is_an_error_and_not_a_blank(writer: RunWriter, target: str | None) -> None:
    """Zarr takes both for a chunk that was never written, and fills in NaN."""
    writer.put_measure("token_nll", place(0), result(1.0))
    chunk = writer.path / "trajectory.zarr" / "token_nll" / "nll" / "c.0.0"
    chunk.unlink()
    if target is None:
        chunk.mkdir()
    else:
        chunk.symlink_to(target)
    with pytest.raises(StoreError, match=r"nll/c\.0\.0 (is missing, or no file|cannot be read)"):
        writer.run.measure("token_nll").load()


def test_chunks_that_changed_places_are_noticed(writer: RunWriter) -> None:
    """Both are whole, and of one shape: only `slots.json` knows which of them belongs where."""
    for step in (0, 10):
        writer.put_measure("token_nll", place(step), result(float(step)))
    assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == [0.0, 10.0]
    assert problems_of(writer.run) == []
    folder = writer.path / "trajectory.zarr" / "token_nll" / "nll"
    first, second = (folder / name for name in ("c.0.0", "c.1.0"))
    before = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(before)
    with pytest.raises(StoreError, match=r"nll/c\.[01]\.0 is damaged: it is whole, but not what was written there"):
        writer.run.measure("token_nll").load()
    assert [problem.file for problem in problems_of(writer.run)] == [
        f"trajectory.zarr/token_nll/nll/{name}" for name in ("c.0.0", "c.1.0")
    ]


def test_sums_of_chunks_follow_rewinds_and_groups_of_earlier_versions(writer: RunWriter) -> None:
    for step in (0, 10, 20):
        writer.put_measure("token_nll", place(step), result(float(step)))
    group = writer.path / "trajectory.zarr" / "token_nll"
    assert {key for key in expected_chunks(group) if key.startswith("nll/")} == {f"nll/c.{i}.0" for i in range(3)}
    assert "probe_of_token/c.0" in expected_chunks(group)  # coordinates, too
    writer.rewind(10, 0)
    writer.put_measure("token_nll", place(10), result(11.0))  # again: slot 1 is left, 2 is new
    assert {key for key in expected_chunks(group) if key.startswith("nll/")} == {"nll/c.0.0", "nll/c.2.0"}
    content = durable.read_json(group / "slots.json")
    del content["chunks_crc32c"]
    durable.write_json(group / "slots.json", content)
    writer.close()
    with RunWriter.attach(writer.path) as later:
        later.put_measure("token_nll", place(20), result(21.0))
    assert {key for key in expected_chunks(group) if key.startswith("nll/")} == {"nll/c.3.0"}
    assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == [0.0, 11.0, 21.0]


def test_the_arrays_are_plain_zarr(writer: RunWriter) -> None:
    for step in (0, 10):
        writer.put_measure("token_nll", place(step), result(step))
    group = writer.path / "trajectory.zarr" / "token_nll"
    array = zarr.open_array(group / "nll", mode="r")
    assert array.metadata.zarr_format == 3
    assert array[:].tolist() == [[0.0] * 3, [10.0] * 3]
    assert array.chunks == (1, 3)
    slots = json.loads((group / "slots.json").read_text())
    assert slots["format_version"] == 1
    assert [(slot["slot"], slot["step"], slot["flops_counted"]) for slot in slots["slots"]] == [
        (0, 0, None),
        (1, 10, None),
    ]


def test_damaged_slots_are_named(writer: RunWriter) -> None:
    writer.put_measure("token_nll", place(0), result(0.0))
    slots = writer.path / "trajectory.zarr" / "token_nll" / "slots.json"
    for content in (b"", b'{"slots": [{"slot": 0}]}', b"[]"):
        slots.write_bytes(content)
        with pytest.raises(StoreError, match=r"slots\.json is damaged"):
            writer.run.measure("token_nll")


def test_results_whose_slots_are_lost_are_refused_and_stay(writer: RunWriter) -> None:
    writer.put_measure("token_nll", place(0), result(0.0))
    writer.close()
    group = writer.path / "trajectory.zarr" / "token_nll"
    lost = (group / "slots.json").read_bytes()
    (group / "slots.json").unlink()
    files = {path: path.read_bytes() for path in group.rglob("*") if path.is_file()}
    for use in (lambda: writer.run.measures, lambda: RunWriter.attach(writer.path)):
        with pytest.raises(StoreError, match=r"token_nll/slots\.json is missing: .*bring it back, or move"):
            use()
    assert {path: path.read_bytes() for path in group.rglob("*") if path.is_file()} == files
    (group / "slots.json").write_bytes(lost)
    with RunWriter.attach(writer.path) as again:
        again.put_measure("token_nll", place(10), result(10.0))
    assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == [0.0, 10.0]


def test_slots_lost_under_an_open_writer_do_not_cost_the_group(writer: RunWriter) -> None:
    """A first state that was never complete is replaced; a complete one whose index is gone is not."""
    writer.put_measure("token_nll", place(0), result(0.0))
    group = writer.path / "trajectory.zarr" / "token_nll"
    (group / "slots.json").unlink()
    fresh = arrays.GroupWriter.__new__(arrays.GroupWriter)
    fresh.__dict__.update(_path=group, _slots={}, _group=None, _arrays={}, _digests={}, _metadata={})
    with pytest.raises(StoreError, match=r"slots\.json is missing"):
        fresh.put(place(10), result(10.0))
    assert (group / "nll" / "c.0.0").exists()
    (group / "begun").touch()  # what a writer that was killed during its first state leaves
    fresh.put(place(10), result(10.0))
    assert writer.run.measure("token_nll")["nll"].values[:, 0].tolist() == [10.0]
    assert not (group / "begun").exists()


def test_changed_metadata_is_named(writer: RunWriter) -> None:
    for step in (0, 10):
        writer.put_measure("token_nll", place(step), result(0.0))
    writer.close()
    group = writer.path / "trajectory.zarr" / "token_nll"
    for name, old, new in (("nll/", b"nats", b"bits"), ("", b"nll rank", b"nll nurk"), ("rank/", b"{", b"[")):
        metadata = group / f"{name}zarr.json"
        intact = metadata.read_bytes()
        metadata.write_bytes(intact.replace(old, new, 1))
        for use in (lambda: writer.run.measure("token_nll"), lambda: RunWriter.attach(writer.path)):
            with pytest.raises(StoreError, match=f"token_nll/{name}zarr.json is damaged"):
                use()
        metadata.write_bytes(intact)
    assert writer.run.measure("token_nll")["rank"].values.tolist() == [0, 0]


def test_a_name_that_is_no_directory_is_refused(writer: RunWriter) -> None:
    with pytest.raises(StoreError, match=r"measure '\.\./up': use letters"):
        writer.put_measure("../up", place(0), result(0.0))
    with pytest.raises(TypeError, match="lacks attrs"):
        writer.put_measure("token_nll", place(0), xr.Dataset({"a": ((), 1.0)}))
