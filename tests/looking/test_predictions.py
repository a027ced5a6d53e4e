from typing import Any

import numpy as np
import torch

from ontogeny.core.measures import Need
from ontogeny.looking.predictions import Predictor

ALL: frozenset[Need] = frozenset({"nll", "rank", "entropy", "top1"})


class GivenLogits:
    """BodyAndHead whose hidden states are the logits."""

    whole, projection, device = True, None, torch.device("cpu")

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def predict(
    logits: list[list[float]] | torch.Tensor, targets: list[int], needs: frozenset[Need] = ALL
) -> dict[str, Any]:
    predictor = Predictor(GivenLogits(), needs)  # type: ignore[arg-type]
    return predictor(torch.as_tensor(logits, dtype=torch.float32), torch.tensor(targets))


def test_predictions_by_hand() -> None:
    # softmax of (0, ln 2, ln 5) is (1, 2, 5) / 8
    row = [0.0, float(np.log(2)), float(np.log(5))]
    found = predict([row, row, row], [0, 1, 2])
    assert np.allclose(found["nll"], [np.log(8), np.log(4), np.log(8 / 5)], atol=1e-6)
    entropy = np.log(8) / 8 + 2 * np.log(4) / 8 + 5 * np.log(8 / 5) / 8
    assert np.allclose(found["entropy"], entropy, atol=1e-6)
    assert found["rank"].tolist() == [2, 1, 0]
    assert found["top1"].tolist() == [2, 2, 2]


def test_equal_logits_are_ranked_by_id() -> None:
    found = predict([[1.0, 2.0, 2.0, 0.0]] * 4, [0, 1, 2, 3])
    assert found["rank"].tolist() == [2, 0, 1, 3]
    assert found["top1"].tolist() == [1] * 4


def test_equal_logits_across_tiles_of_the_vocabulary() -> None:
    # 5000 equal logits fill two tiles and a half: the rank of an id is the id, NLL and entropy are ln 5000
    targets = [0, 1, 2047, 2048, 2049, 4095, 4096, 4999]
    found = predict(torch.full((8, 5000), 3.7), targets)
    assert found["rank"].tolist() == targets
    assert found["top1"].tolist() == [0] * 8
    assert np.allclose(found["nll"], np.log(5000), rtol=1e-6)
    assert np.allclose(found["entropy"], np.log(5000), rtol=1e-6)


def test_extreme_logits() -> None:
    # one logit 2e4 above the rest: nothing overflows; the sure prediction has NLL 0 and entropy 0
    logits = torch.full((2, 600), -1e4)
    logits[:, 550] = 1e4
    found = predict(logits, [550, 3])
    assert found["nll"].tolist() == [0.0, 2e4]
    assert found["entropy"].tolist() == [0.0, 0.0]
    assert found["rank"].tolist() == [0, 4]


def test_what_is_not_a_number_is_no_first_choice() -> None:
    found = predict([[float("nan")] * 3], [0])
    assert found["nll"].isnan().all()
    assert found["rank"].tolist() == [-1]


def test_nothing_to_predict() -> None:
    found = predict(torch.zeros(0, 5), [])
    assert {name: (len(v), v.dtype) for name, v in found.items()} == {
        "nll": (0, torch.float32),
        "entropy": (0, torch.float32),
        "rank": (0, torch.int64),
        "top1": (0, torch.int64),
    }


def test_random_logits_over_many_tiles_agree_with_float64() -> None:
    # 300 rows are three tiles of rows, 5000 ids two and a half of vocabulary; quantised, so that many logits are equal
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(300, 5000, generator=generator) * 6).round() / 2
    targets = torch.randint(0, 5000, (300,), generator=generator)
    found = predict(logits, targets.tolist())
    exact = logits.double().numpy()
    log_p = exact - np.logaddexp.reduce(exact, axis=-1, keepdims=True)
    of_target = np.take_along_axis(exact, targets.numpy()[:, None], 1)
    before = (exact > of_target) | ((exact == of_target) & (np.arange(5000) < targets.numpy()[:, None]))
    assert np.allclose(found["nll"], -np.take_along_axis(log_p, targets.numpy()[:, None], 1)[:, 0], atol=3e-6)
    assert np.allclose(found["entropy"], -(np.exp(log_p) * log_p).sum(1), atol=3e-6)
    assert found["rank"].tolist() == before.sum(1).tolist()
    assert found["top1"].tolist() == exact.argmax(1).tolist()


def test_the_entropy_of_a_sure_prediction_keeps_its_digits() -> None:
    # one token of probability 1 - 2e-6, two of 1e-6 each, at logits near 50
    rest = 50 + float(np.log(1e-6))
    found = predict([[50.0, rest, rest]], [0])
    p = np.exp(np.float64(np.float32(rest)) - 50)
    total = 1 + 2 * p
    exact = np.log(total) + 2 * p / total * (50 - np.float64(np.float32(rest)))
    assert abs(float(found["entropy"][0]) / exact - 1) < 1e-2


class OneLayer:
    """BodyAndHead of a linear head."""

    whole, device = True, torch.device("cpu")

    def __init__(self, weight: torch.Tensor) -> None:
        self.projection = weight, None


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    """700 rows are six tiles of rows, which one, two and three threads divide among themselves."""
    generator = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(5000, 32, generator=generator), torch.randn(700, 32, generator=generator)
    targets = torch.randint(0, 5000, (700,), generator=generator)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            predictor = Predictor(OneLayer(weight), ALL)  # type: ignore[arg-type]
            found.append([predictor(hidden, targets) for _ in range(2)])
    finally:
        torch.set_num_threads(before)
    exact = hidden.double() @ weight.double().T
    log_p = torch.log_softmax(exact, dim=-1)
    nll = -log_p.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found[0][0]["nll"], nll.float(), atol=2e-5, rtol=1e-6)
    for again in (again for each in found for again in each):
        assert all(torch.equal(again[name], found[0][0][name]) for name in ALL)
