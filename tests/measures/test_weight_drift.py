from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import StoreError
from ontogeny.measures.weight_drift import WeightDrift
from tests.measures.small import make_context, make_model
from tests.models.test_weights import with_lora

NAMES = ["gpt_neox.embed_in.weight", "gpt_neox.layers.0.mlp.weight", "gpt_neox.layers.0.mlp.bias", "lm_head.weight"]


def weights(*values: list[float], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=dtype) for name, value in zip(NAMES, values, strict=True)}


def drift(now: Mapping[str, Any], first: Mapping[str, Any] | None, previous: Mapping[str, Any] | None) -> Any:
    context = make_context(
        None,
        [],
        weights=lambda: now,
        first_weights=None if first is None else lambda: first,
        previous_weights=None if previous is None else lambda: previous,
    )
    return WeightDrift().look(context).arrays


def test_drift_by_hand() -> None:
    now = weights([3.0, 4.0], [1.0, 0.0], [0.0], [2.0])
    first = weights([3.0, 0.0], [0.0, 1.0], [0.0], [-2.0])
    observed = drift(now, first, now)
    assert observed["tensor"].values.tolist() == NAMES
    assert observed["block_of_tensor"].values.tolist() == [-1, 0, 0, 1]
    assert observed["block"].values.tolist() == [-1, 0, 1]
    # |differences|: (0, 4), (1, 1), (0), (4)
    assert observed["tensor_mad_first"].values.tolist() == [2.0, 1.0, 0.0, 4.0]
    assert observed["block_mad_first"].values == pytest.approx([2.0, 2 / 3, 4.0])
    assert float(observed["mad_first"]) == pytest.approx(10 / 6)
    # norms of the differences by norms at first: 4 / 3, sqrt 2 / 1, 0 / 0, 4 / 2;
    # in all sqrt(16 + 2 + 16) / sqrt(9 + 1 + 4)
    assert observed["tensor_relative_l2_first"].values == pytest.approx([4 / 3, 2**0.5, np.nan, 2.0], nan_ok=True)
    assert observed["block_relative_l2_first"].values == pytest.approx([4 / 3, 2**0.5, 2.0])
    assert float(observed["relative_l2_first"]) == pytest.approx((34 / 14) ** 0.5)
    # cosines: 9 / (5 x 3), 0, undefined, -1; in all (9 + 0 - 4) / sqrt((25 + 1 + 4)(9 + 1 + 4))
    assert observed["tensor_cosine_first"].values == pytest.approx([0.6, 0.0, np.nan, -1.0], nan_ok=True)
    assert float(observed["cosine_first"]) == pytest.approx(5 / 420**0.5)


def test_what_has_not_moved() -> None:
    now = {name: p.detach() for name, p in make_model().named_parameters()}
    observed = drift(now, now, now)
    for reference in ("first", "previous"):
        assert float(observed[f"mad_{reference}"]) == 0.0
        assert float(observed[f"relative_l2_{reference}"]) == 0.0
        assert float(observed[f"cosine_{reference}"]) == 1.0
        assert (observed[f"block_cosine_{reference}"] == 1.0).all()


def test_without_a_checkpoint_nothing_is_known() -> None:
    now = weights([3.0, 4.0], [1.0, 0.0], [0.0], [2.0])
    observed = drift(now, None, now)
    for name in ("mad", "relative_l2", "cosine"):
        assert np.isnan(observed[f"{name}_first"])
        assert observed[f"block_{name}_first"].isnull().all()
        assert np.isfinite(observed[f"{name}_previous"])


def test_a_step_far_below_float32_of_a_sum_is_seen() -> None:
    # 3 million weights of 1 of which each moves by 2^-23: summed in float32 the differences of norms would drown
    first = {"lm_head.weight": torch.ones(3_000_000)}
    now = {"lm_head.weight": torch.full((3_000_000,), 1 + 2.0**-23)}
    observed = drift(now, first, None)
    assert float(observed["mad_first"]) == pytest.approx(2.0**-23, rel=1e-12)
    assert float(observed["relative_l2_first"]) == pytest.approx(2.0**-23, rel=1e-12)


def test_bfloat16_weights() -> None:
    now, first = (weights(v, [1.0], [1.0], [1.0], dtype=torch.bfloat16) for v in ([1.5], [1.0]))
    assert drift(now, first, None)["tensor_mad_first"].values.tolist() == [0.5, 0.0, 0.0, 0.0]


def test_another_model_is_refused() -> None:
    now = weights([3.0, 4.0], [1.0, 0.0], [0.0], [2.0])
    with pytest.raises(StoreError, match=r"no tensor 'lm_head.weight' of shape \(1,\)"):
        drift(now, {**now, "lm_head.weight": torch.zeros(2)}, None)


def test_of_a_lora_model_the_merged_weights_have_moved() -> None:
    from ontogeny.models.weights import effective_weights

    base = {name: p.detach().clone() for name, p in make_model().named_parameters()}
    adapted = effective_weights(with_lora(make_model()))
    observed = drift(adapted, base, None)
    moved = {
        str(t) for t, v in zip(observed["tensor"].values, observed["tensor_mad_first"].values, strict=True) if v > 0
    }
    assert moved == {n for n in base if n.endswith("weight") and ("attention." in n or "mlp." in n)}
