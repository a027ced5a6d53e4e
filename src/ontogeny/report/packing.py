"""Numbers for the page in one byte each, with an error that is measured and stated.

A packed array is uint8; `MISSING` stands for NaN. NLL and entropy lie on a square-root scale (most tokens of a trained
model are near 0, where detail matters), ranks on a logarithmic one. Layout is `[token, checkpoint]`: neighbouring
checkpoints are alike, so each row is stored as differences modulo 256 and compresses well.
"""

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

MISSING = 255
TOP = 254

Scale = Literal["root", "log"]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One array in bytes, and how to read it back.

    root: value = cap * (byte / 254)^2.  log: value = 2^(cap * byte / 254) - 1.
    """

    scale: Scale
    cap: float
    codes: np.ndarray
    """uint8, the shape of what was packed."""
    worst_error: float
    """Largest absolute difference between a packed finite value and the value read back, in its unit."""


def pack(values: np.ndarray, scale: Scale) -> Packed:
    """Quantise non-negative values to 254 steps between 0 and their maximum; anything not finite becomes MISSING."""
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    clean = np.clip(np.where(finite, values, 0.0), 0.0, None)
    shaped = np.sqrt(clean) if scale == "root" else np.log2(1 + clean)
    top = float(shaped.max(initial=0.0)) or 1.0
    codes = np.where(finite, np.rint(shaped / top * TOP), MISSING).astype(np.uint8)
    cap = top**2 if scale == "root" else top
    difference = np.abs(unpack(codes, scale, cap) - clean)[finite]
    return Packed(scale=scale, cap=cap, codes=codes, worst_error=float(difference.max(initial=0.0)))


def unpack(codes: np.ndarray, scale: Scale, cap: float) -> np.ndarray:
    """Read packed bytes back: float64, NaN where MISSING."""
    share = codes.astype(np.float64) / TOP
    values = cap * share**2 if scale == "root" else np.exp2(cap * share) - 1
    return np.where(codes == MISSING, np.nan, values)


def difference_rows(codes: np.ndarray) -> np.ndarray:
    """Each row's first value, then differences along the row modulo 256 (uint8 in, uint8 out)."""
    out = codes.copy()
    out[:, 1:] = codes[:, 1:] - codes[:, :-1]
    return out


def bundle(header: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> str:
    """Header and uint8 arrays as one text: base64(deflate(header length as uint32 LE, header JSON, arrays in order)).

    The header's key `arrays` gets the length in bytes of each array, in order.
    """
    listed = {**header, "arrays": {name: int(array.size) for name, array in arrays.items()}}
    head = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    body = b"".join([struct.pack("<I", len(head)), head, *(np.ascontiguousarray(a).tobytes() for a in arrays.values())])
    return base64.b64encode(zlib.compress(body, 6)).decode("ascii")
