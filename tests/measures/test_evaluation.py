from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.passages import ProbeSet
from ontogeny.core.progress import Progress
from ontogeny.core.schedule import Schedule
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.evaluation import Evaluation
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.next_token import NextToken
from tests.measures.small import (
    HandBatch,
    byte_passage,
    log_probabilities,
    make_context,
    make_model,
    passage,
    random_probe,
)


def two_passages() -> ProbeSet:
    """Three scored tokens, of which the loss counts the last of each passage."""
    first = passage([5, 6, 7], supervised=[False, False, True])
    return ProbeSet(name="p", passages=[first, passage([8, 9])])


def seen_by_hand(objective: Objective, **changes: Any) -> dict[str, float]:
    probe = two_passages()
    look = Evaluation().look(make_context(None, [probe], objective=objective, **changes))
    look.see(HandBatch(probe, [0], nll=[[1.0, 2.0]], rank=[[0, 4]]))
    look.see(HandBatch(probe, [1], nll=[[3.0]], rank=[[0]]))
    arrays = look.result().arrays
    return {str(name): float(values[0]) for name, values in arrays.data_vars.items()}


def test_numbers_by_hand() -> None:
    seen = seen_by_hand(Objective([NextToken()]))
    # NLL (1 + 2 + 3) / 3. Residuals of the sums (3, 3) around 2 x tokens (2, 1) are -1 and 1, so the standard error is
    # sqrt(2 / 1 x (1 + 1)) / 3. Tokens cover one byte each: 6 / ln 2 / 3 bits per byte. Two of three are first choice.
    assert seen["nll"] == 2.0
    assert seen["nll_se"] == pytest.approx(2 / 3)
    assert seen["perplexity"] == pytest.approx(np.exp(2))
    assert seen["bits_per_byte"] == pytest.approx(2 / np.log(2))
    assert seen["top1"] == pytest.approx(2 / 3)
    assert seen["n_tokens"] == 3
    # the loss counts the tokens with NLL 2 and 3
    assert seen["term_next_token"] == 2.5
    assert seen["objective"] == 2.5


def test_the_loss_of_each_passage_is_kept_on_the_flat_axis() -> None:
    probes = [two_passages(), ProbeSet(name="q", passages=[passage([4])])]
    look = Evaluation().look(make_context(None, probes))
    look.see(HandBatch(probes[0], [1], nll=[[3.0]], rank=[[0]]))
    look.see(HandBatch(probes[0], [0], nll=[[1.0, 2.5]], rank=[[0, 4]]))
    arrays = look.result().arrays
    assert arrays["passage_nll_nats"].dims == ("passage",)
    assert arrays["passage_nll_nats"].values.tolist() == [3.5, 3.0, 0.0]
    assert arrays["scored_tokens"].values.tolist() == [2, 1, 0]  # a passage's first token is not predicted
    assert arrays["probe_of_passage"].values.tolist() == ["p", "p", "q"]
    assert arrays["passage_id"].values.tolist() == [0, 1, 0]
    # Eight bytes per passage and checkpoint; what does not change is a coordinate, which is stored once.
    assert [name for name, array in arrays.data_vars.items() if "passage" in array.dims] == ["passage_nll_nats"]
    assert arrays["passage_nll_nats"].dtype == np.float64


def test_the_objective_has_the_weights_of_the_step_and_perplexity_does_not() -> None:
    falling = Objective([NextToken(weight=Schedule(shape="linear", value=2.0))])
    # linear from 2 at step 0 to 0 at step 10: 1 at step 5
    seen = seen_by_hand(falling, progress=Progress(step=5, total_steps=10, epoch=1.0))
    assert seen["objective"] == pytest.approx(2.5)
    later = seen_by_hand(falling, progress=Progress(step=10, total_steps=10, epoch=1.0))
    assert later["objective"] == 0.0
    assert later["term_next_token"] == seen["term_next_token"] == 2.5
    assert later["perplexity"] == pytest.approx(np.exp(2))


def test_perplexity_is_never_clamped() -> None:
    probe = two_passages()
    look = Evaluation().look(make_context(None, [probe]))
    look.see(HandBatch(probe, [0, 1], nll=[[90.0, 90.0], [90.0]], rank=[[0, 4], [0]]))
    assert float(look.result().arrays["perplexity"][0]) == pytest.approx(np.exp(90))


def test_bytes_not_tokens_are_counted() -> None:
    # "né né": 7 bytes; as bytes, 6 of them are predicted
    probe = ProbeSet(name="p", passages=[byte_passage("né né")])
    look = Evaluation().look(make_context(None, [probe]))
    look.see(HandBatch(probe, [0], nll=[[np.log(2)] * 6], rank=[[0] * 6]))
    assert float(look.result().arrays["bits_per_byte"][0]) == pytest.approx(1.0)


def test_a_set_with_nothing_to_predict_has_no_numbers() -> None:
    probe = random_probe("p", [1])
    seen = run_stream_looks(make_context(make_model(), [probe]), [Evaluation()])[0]["evaluation"].arrays
    assert int(seen["n_tokens"][0]) == 0
    for name in ("nll", "nll_se", "perplexity", "bits_per_byte", "top1", "objective", "term_next_token"):
        assert np.isnan(seen[name][0]), name


def test_it_agrees_with_the_model_and_with_the_training_loss(model: Any, probes: list[ProbeSet]) -> None:
    seen = run_stream_looks(make_context(model, probes), [Evaluation()])[0]["evaluation"].arrays
    for row, probe in enumerate(probes):
        nll = [-log_probabilities(model, p.token_ids)[np.arange(len(p) - 1), p.token_ids[1:]] for p in probe.passages]
        assert float(seen["nll"][row]) == pytest.approx(np.concatenate(nll).mean(), abs=1e-6)
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(p.token_ids.astype(np.int64)) for p in probe.passages],
            batch_first=True,
            padding_value=-100,
        )
        loss = model.eval()(input_ids=ids.clamp(min=0), labels=ids).loss  # Hugging Face's own mean over tokens
        assert float(seen["objective"][row]) == pytest.approx(loss.item(), abs=1e-5)


@pytest.mark.slow
def test_the_standard_error_is_the_spread_over_draws_of_passages() -> None:
    # 400 sets of 30 passages with lengths of 5 to 40 tokens and a passage effect: the mean of the estimated errors is
    # near the standard deviation of the 400 means, which one without the passage effect (token by token) would miss
    generator = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(400):
        lengths = generator.integers(5, 41, 30)
        probe = random_probe("p", lengths.tolist())
        look = Evaluation().look(make_context(None, [probe]))
        effect = generator.normal(3, 1, 30)
        nll = [(effect[i] + generator.normal(0, 0.1, n - 1)).tolist() for i, n in enumerate(lengths)]
        look.see(HandBatch(probe, range(30), nll=nll, rank=[[0] * (n - 1) for n in lengths]))
        arrays = look.result().arrays
        means.append(float(arrays["nll"][0]))
        errors.append(float(arrays["nll_se"][0]))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)
