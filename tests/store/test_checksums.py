"""An object in JSON is refused if any of its values changed, and read if it was only laid out anew."""

import json
from pathlib import Path

import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store import checksums, durable

VALUE = {"step": 3, "name": "é", "deep": {"list": [1.5, None, True]}}


def test_the_sum_is_that_of_sorted_keys_without_blanks(tmp_path: Path) -> None:
    """printf '{"a":[1,2],"b":"x"}' | sha256sum"""
    expected = "d0f56dda38d34376527524ddd98f7ec117d5cbfb240f86e11bfb9d2d01a717d9"
    durable.write_json(tmp_path / "a.json", {"b": "x", "a": (1, 2)})
    written = json.loads((tmp_path / "a.json").read_text())
    assert written == {"b": "x", "a": [1, 2], "file_sha256": expected}
    assert durable.read_json(tmp_path / "a.json") == {"b": "x", "a": [1, 2]}


def test_every_changed_byte_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    durable.write_json(path, VALUE)
    intact = path.read_bytes()
    refused = 0
    for place in range(len(intact)):
        for bit in range(8):
            path.write_bytes(intact[:place] + bytes([intact[place] ^ 1 << bit]) + intact[place + 1 :])
            try:
                assert durable.read_json(path) == VALUE, (place, bit)
            except StoreError as error:
                assert "status.json is damaged" in str(error)  # noqa: PT017
                refused += 1
    assert refused > 0.9 * 8 * len(intact)  # all but blanks


def test_another_layout_and_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(checksums.sealed(VALUE), indent=7, sort_keys=True))
    assert durable.read_json(path) == VALUE
    for plain in (VALUE, [1, 2], {"sha": "0" * 64}, {}):
        path.write_text(json.dumps(plain))
        assert durable.read_json(path) == plain


def test_what_holds_no_object_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with pytest.raises(StoreError, match=r"a\.json is damaged: it holds no JSON object"):
        durable.read_object(path)
    path.write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"a\.json is damaged"):
        durable.read_json(path)
    with pytest.raises(StoreError, match=r"b\.json is missing"):
        durable.read_json(tmp_path / "b.json")
