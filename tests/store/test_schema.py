import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ontogeny.store import schema
from tests.store.scenarios import result

ATTRIBUTES: Mapping[str, Any] = {"units": "nats", "long_name": "a name"}


def test_a_good_dataset_passes() -> None:
    schema.check(result(1.0))
    schema.check(xr.Dataset({"a": (("own", "block"), np.zeros((1, 2)), ATTRIBUTES)}, coords={"own": ["x"]}))
    schema.check(xr.Dataset({"a": ("probe", np.array(["x", "é"], object), ATTRIBUTES)}, attrs={"k": 32, "of": [1, 2]}))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (xr.Dataset({"a": ("token", [1.0], {"long_name": "n"})}), "variable 'a' lacks attrs['units']"),
        (xr.Dataset({"a": ("token", [1.0], {"units": "1", "long_name": ""})}), "'a' lacks attrs['long_name']"),
        (xr.Dataset({"a": ("place", [1.0], ATTRIBUTES)}), "axis 'place' is not one of probe, token, passage, block"),
        (xr.Dataset({"a": ("checkpoint", [1.0], ATTRIBUTES)}), "axis 'checkpoint' is added by the store"),
        (xr.Dataset({"step": ((), 1.0, ATTRIBUTES)}), "variable 'step' is reserved"),
        (xr.Dataset({"a": ((), 1.0, ATTRIBUTES)}, coords={"epoch": 1}), "variable 'epoch' is reserved"),
        (xr.Dataset({"a/b": ((), 1.0, ATTRIBUTES)}), "variable 'a/b': use letters"),
        (xr.Dataset({"a": ("token", np.array([1, None]), ATTRIBUTES)}), "variable 'a' holds objects that are not text"),
        (xr.Dataset({"a": ("token", np.array([1j]), ATTRIBUTES)}), "variable 'a' has dtype complex128"),
        (xr.Dataset({"a": ("token", np.array(["2020"], "M8[s]"), ATTRIBUTES)}), "variable 'a' has dtype datetime64"),
        (xr.Dataset({"a": ((), 1.0, {**ATTRIBUTES, "of": {"x": 1}})}), "variable 'a': attribute 'of' must be"),
        (xr.Dataset({"a": ((), 1.0, ATTRIBUTES)}, attrs={"coordinates": "x"}), "attribute 'coordinates' is reserved"),
        (xr.Dataset(coords={"probe": ["train"]}), "the dataset has no variable"),
    ],
)
def test_a_bad_one_is_the_authors_defect(dataset: xr.Dataset, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        schema.check(dataset)


@pytest.mark.parametrize("name", ["token_nll", "a.b-c", "0"])
def test_file_names(name: str) -> None:
    assert schema.is_file_name(name)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "a\n", "é"])
def test_no_file_names(name: str) -> None:
    assert not schema.is_file_name(name)
