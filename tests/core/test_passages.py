import hashlib

import numpy as np
import pytest

from ontogeny.core.passages import Passage, ProbeSet


def passage(ids: list[int], supervised: list[bool] | None = None, text: str = "abc") -> Passage:
    return Passage(
        text=text,
        token_ids=np.array(ids, dtype=np.int32),
        byte_offsets=np.arange(len(ids) + 1, dtype=np.int32),
        source="here",
        supervised=np.array(supervised or [True] * len(ids)),
    )


def test_fingerprint_covers_ids_and_supervision() -> None:
    # By hand: two little-endian int32 and one byte of packed bits, 1 and 0 then padding: 0b10000000.
    expected = hashlib.sha256(b"\x03\x00\x00\x00\x01\x01\x00\x00" + b"\x80").hexdigest()[:16]
    assert passage([3, 257], [True, False]).fingerprint == expected


def test_fingerprint_does_not_depend_on_the_integer_type() -> None:
    wide = passage([3, 257])
    narrow = Passage(**{**wide.__dict__, "token_ids": wide.token_ids.astype(np.int64)})
    assert wide.fingerprint == narrow.fingerprint


@pytest.mark.parametrize("other", [passage([1, 2, 4]), passage([1, 2]), passage([1, 2, 3], [True, True, False])])
def test_other_passages_have_other_fingerprints(other: Passage) -> None:
    assert passage([1, 2, 3]).fingerprint != other.fingerprint


def test_probe_set_depends_on_order_but_not_on_its_name() -> None:
    one, two = passage([1, 2]), passage([3])
    there = ProbeSet(name="a", passages=[one, two])
    assert there.fingerprint == ProbeSet(name="b", passages=[one, two]).fingerprint
    assert there.fingerprint != ProbeSet(name="a", passages=[two, one]).fingerprint
    assert len(there) == 2
