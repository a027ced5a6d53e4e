"""Datasets saved in a local directory stand in for the hub."""

from pathlib import Path

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.corpora.hub import Hub

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def test_saved_dataset(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "d")
    found = list(Hub(name=str(tmp_path / "d")).documents())
    assert [(d.source, d.text) for d in found] == [("train:0", "a"), ("train:1", "b")]


def test_saved_splits(tmp_path: Path) -> None:
    made = {name: datasets.Dataset.from_dict({"body": [name]}) for name in ("train", "test")}
    datasets.DatasetDict(made).save_to_disk(tmp_path / "d")
    assert [d.text for d in Hub(name=str(tmp_path / "d"), split="test", text="body").documents()] == ["test"]
    with pytest.raises(DataError, match=r"split 'dev' cannot be loaded \(it has the splits train, test\)"):
        list(Hub(name=str(tmp_path / "d"), split="dev").documents())


def test_directory_of_data_files(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    datasets.Dataset.from_dict({"prompt": ["q"], "completion": [" a"]}).to_parquet(folder / "train.parquet")
    (document,) = Hub(name=str(folder)).documents()
    assert (document.text, document.completion_spans) == ("q a", ((1, 3),))
    with pytest.raises(DataError, match=r"split 'dev' cannot be loaded \(Unknown split"):
        list(Hub(name=str(folder), split="dev").documents())


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^dataset '.*nowhere', split 'train' cannot be loaded \(") as caught:
        list(Hub(name=str(tmp_path / "nowhere")).documents())
    assert "\n" not in str(caught.value)


def test_provenance_names_the_revision() -> None:
    assert Hub(name="a/b", revision="abc").origin() == {"name": "a/b", "split": "train", "revision": "abc"}
