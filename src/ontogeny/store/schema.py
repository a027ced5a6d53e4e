"""Every table, array, axis and file of a run directory, in one place.

A run directory is self-contained and movable: nothing in it is an absolute path, and opening it executes nothing
(Parquet, Zarr, JSON and YAML only).
"""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from ontogeny.core.json_types import JsonObject
from ontogeny.core.progress import Place

if TYPE_CHECKING:
    import xarray as xr

FORMAT_VERSION: Final = 1
CHUNK_TOKENS: Final = 262_144
"""Maximal number of elements of a flat axis (token, passage, item) per chunk. A chunk holds one checkpoint."""

RECIPE_YAML: Final = "recipe.yaml"
RECIPE_JSON: Final = "recipe.json"
PROVENANCE: Final = "provenance.json"
"""Written last when a run is created: a directory without it is not a run."""
STATUS: Final = "status.json"
FINDINGS: Final = "findings.json"
"""Findings of the last diagnosis of what was recorded."""
AUDIT: Final = "audit.json"
"""Findings of an audit of the live training, which a later diagnosis does not overwrite."""
VERDICTS: Final = "verdicts"
"""Key of the list in both."""
ANALYSES_FOLDER: Final = "analyses"
"""One JSON file per analysis, named after its kind."""
ORDER: Final = "order.json"
"""What an order by difficulty knows of the examples: the `nll` of each before training."""
REMEMBERED_FOLDER: Final = "remembered"
"""What loss terms remember of the model that training started from: a safetensors file for each."""
WRITTEN_FOLDER: Final = "written"
"""Corpora that a model wrote before training: `<corpus>.jsonl`, lines of text and source."""
LOCK: Final = ".lock"
CACHED_TARGETS_FOLDER: Final = "cached_targets"
"""Beside the runs, shared by them: what teachers say of training texts (`store.cached_targets`)."""
METRICS_FOLDER: Final = "metrics"
PROBES_FOLDER: Final = "probes"
SAMPLES_FOLDER: Final = "samples"
TRAJECTORY_FOLDER: Final = "trajectory.zarr"
CHECKPOINTS_FOLDER: Final = "checkpoints"
BASE_FOLDER: Final = "base"
"""With adapters: the model below them."""
TOKENIZER_FOLDER: Final = "tokenizer"
WRITTEN_ONCE: Final = (TOKENIZER_FOLDER, BASE_FOLDER, REMEMBERED_FOLDER, WRITTEN_FOLDER, ORDER)
"""What is written when a run begins, and does not change any more."""
MANIFEST: Final = "MANIFEST.json"
"""In a checkpoint: its state and every file's SHA-256. In the run's own folder: those of all files written once."""
SLOTS: Final = "slots.json"

METRICS: Final = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("time_unix_s", pa.float64(), nullable=False),
        pa.field("name", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("scope", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""Scalars in the order in which they were written; NaN and infinities are ordinary values.

Scopes: ``train`` (loss, lr, grad_norm, tokens, terms), ``model`` (measure scalars), a probe set's name (measure scalars
of that set) and ``timing`` (seconds, the only scope that differs between two identical runs).
"""

PROBES: Final = pa.schema(
    [
        pa.field("passage_id", pa.int64(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("byte_offsets", pa.list_(pa.int32()), nullable=False),
        pa.field("supervised", pa.list_(pa.bool_()), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
    ]
)
"""One row per passage of a probe set, in order; its name, description and fingerprint are in the file's metadata."""

SIDE_COLUMN: Final = "side/"
"""Begins the column of a side input."""

SAMPLES: Final = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("probe", pa.string(), nullable=False),
        pa.field("passage_id", pa.int64(), nullable=False),
        pa.field("decoding", pa.string(), nullable=False),
        pa.field("draw", pa.int64(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("reference", pa.string()),
        pa.field("ended", pa.bool_(), nullable=False),
    ]
)
"""Texts that a model generated.

`decoding` is ``greedy`` or ``sampled``; `draw` counts the texts sampled from one prompt (by default 0); `ended` says
whether the model stopped by itself.
"""

AXES: Final = {
    "checkpoint": "model states in order of step; added by the store",
    "probe": "probe sets; the coordinate `probe` holds their names",
    "token": "tokens of all passages measured, one after the other; coordinates probe_of_token, passage, position",
    "passage": "passages measured, one after the other; coordinates probe_of_passage, passage_id",
    "block": "transformer blocks; -1: the embeddings, n (the number of blocks): final norm and output head",
    "tensor": "weight tensors; the coordinate `tensor` holds their names",
    "item": "items of a task; coordinate probe_of_item",
    "choice": "answers to choose from, within one item",
    "head": "attention heads of a block",
}
"""Axes with a fixed meaning. Any other axis needs a coordinate variable of the same name."""

FLAT_AXES: Final = ("token", "passage", "item")
CHECKPOINT_COORDINATES: Final = ("step", "epoch", "tokens_seen", "flops", "flops_counted", "weights_sha256")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def probes_schema(widths: Mapping[str, int]) -> pa.Schema:
    """The columns of a probe set; for each side input (name and width d) one more: float32 [n * d], row after row."""
    return pa.schema([*PROBES, *(pa.field(SIDE_COLUMN + name, pa.list_(pa.float32())) for name in widths)])


def place_from(entry: JsonObject) -> Place:
    """A place from its JSON, in which null stands for NaN. Raises TypeError if fields are missing."""
    fields: JsonObject = {key: math.nan if value is None else value for key, value in entry.items()}
    return Place(**fields)


def is_array_name(name: object) -> bool:
    """Is it a valid name of a variable, coordinate or axis? Letters, digits, ``_`` and ``-``."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def is_file_name(name: str) -> bool:
    """Is it a valid name of a measure's group or a probe set? Letters, digits, ``_``, ``-`` and ``.``, not leading."""
    return _FILE_NAME.fullmatch(name) is not None


def check(dataset: "xr.Dataset") -> None:
    """Check that a measure's result can be stored and understood later.

    Every axis is one of `AXES`, except ``checkpoint``, or has a coordinate of the same name; every variable has
    attributes `units` and `long_name`; values are booleans, integers, floats or text. Raises TypeError naming the
    variable: this is a defect of the measure, not of its user.
    """
    if "checkpoint" in dataset.dims:
        raise TypeError("axis 'checkpoint' is added by the store: return what was seen at one state")
    if not dataset.data_vars:
        raise TypeError("the dataset has no variable: return at least one, or do not look")
    for axis in dataset.dims:
        if not is_array_name(axis):
            raise TypeError(f"axis {axis!r}: use letters, digits, '_' and '-' in names")
        if axis not in AXES and axis not in dataset.coords:
            known = ", ".join(name for name in AXES if name != "checkpoint")
            raise TypeError(f"axis '{axis}' is not one of {known}: give it a coordinate variable '{axis}'")
    for reserved in {"coordinates", "variables"} & set(dataset.attrs):
        raise TypeError(f"dataset attribute '{reserved}' is reserved by the store: rename it")
    _check_attributes("dataset", dataset.attrs)
    for name, variable in dataset.variables.items():
        if not is_array_name(name):
            raise TypeError(f"variable {name!r}: use letters, digits, '_' and '-' in names")
        if name in CHECKPOINT_COORDINATES:
            raise TypeError(f"variable '{name}' is reserved for the coordinates of the checkpoint: rename it")
        _check_values(str(name), variable)
        _check_attributes(f"variable '{name}'", variable.attrs)
    for name, array in dataset.data_vars.items():
        for attribute in ("units", "long_name"):
            text = array.attrs.get(attribute)
            if not isinstance(text, str) or not text:
                raise TypeError(f"variable '{name}' lacks attrs['{attribute}'] (units of a pure number are '1')")


def _check_values(name: str, array: "xr.Variable") -> None:
    kind = array.dtype.kind
    if kind == "O":
        if not all(isinstance(value, str) for value in array.values.flat):
            raise TypeError(f"variable '{name}' holds objects that are not text: store numbers, booleans or text")
    elif kind not in "biufUT":
        raise TypeError(f"variable '{name}' has dtype {array.dtype}: store numbers, booleans or text")


def _check_attributes(owner: str, attributes: Mapping[object, object]) -> None:
    for key, value in attributes.items():
        values = value if isinstance(value, list | tuple) else (value,)
        if not isinstance(key, str) or not all(isinstance(item, str | int | float | bool) for item in values):
            raise TypeError(f"{owner}: attribute {key!r} must be text, a number, a boolean or a list of them")
