import base64
import json
import struct
import zlib
from typing import Literal

import numpy as np
import pytest

from ontogeny.report.packing import MISSING, bundle, difference_rows, pack, unpack


@pytest.mark.parametrize("scale", ["root", "log"])
def test_what_is_read_back_differs_by_no_more_than_is_stated(scale: Literal["root", "log"]) -> None:
    values = np.random.default_rng(0).gamma(1.0, 3.0, (50, 7))
    packed = pack(values, scale)
    difference = np.abs(unpack(packed.codes, scale, packed.cap) - values)
    assert difference.max() == pytest.approx(packed.worst_error)
    # root: neighbours around code c are cap (2c + 1) / 254^2 apart, at most 507 / 254^2 of the cap; at most half of
    # that is lost. log: half a step of log2 is cap / 508, so value + 1 changes by a factor of at most 2^(cap / 508).
    bound = packed.cap * 507 / 254**2 / 2 if scale == "root" else (1 + values.max()) * (2 ** (packed.cap / 508) - 1)
    assert 0 < packed.worst_error <= bound


def test_small_losses_keep_more_digits_than_large_ones() -> None:
    packed = pack(np.array([0.01, 16.0]), "root")
    read = unpack(packed.codes, "root", packed.cap)
    # 0.01 of 16: sqrt(0.01 / 16) * 254 = 6.35, so code 6, which reads 16 * (6 / 254)^2 = 0.008928.
    assert packed.codes.tolist() == [6, 254]
    assert read == pytest.approx([0.0089280, 16.0], abs=1e-6)


def test_low_ranks_are_exact_and_missing_stays_missing() -> None:
    packed = pack(np.array([0, 1, 2, 3, 5, 8, 2047, np.nan, np.inf]), "log")
    # 2048 = 2^11, so one step is 11 / 254 = 0.0433 of log2: a rank r is off by at most (1 + r) * 0.0151.
    assert np.rint(unpack(packed.codes, "log", packed.cap)[:7]).tolist() == [0, 1, 2, 3, 5, 8, 2047]
    assert packed.codes[7:].tolist() == [MISSING, MISSING]


def test_nothing_but_zeros_or_nothing_at_all() -> None:
    assert pack(np.zeros(3), "root").codes.tolist() == [0, 0, 0]
    assert pack(np.full(2, np.nan), "root").worst_error == 0.0


def test_differences_wrap_around() -> None:
    # 250 -> 3 is +9 modulo 256, 3 -> 1 is -2 = 254.
    assert difference_rows(np.array([[250, 3, 1]], np.uint8)).tolist() == [[250, 9, 254]]


def test_a_bundle_reads_as_its_description_says() -> None:
    text = bundle({"run": "é"}, {"a": np.array([1, 2], np.uint8), "b": np.array([[3], [4]], np.uint8)})
    body = zlib.decompress(base64.b64decode(text))
    size = struct.unpack("<I", body[:4])[0]
    assert json.loads(body[4 : 4 + size]) == {"run": "é", "arrays": {"a": 2, "b": 2}}
    assert list(body[4 + size :]) == [1, 2, 3, 4]
