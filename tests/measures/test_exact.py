"""In half precision a text may depend on the batch; with `exact` it does not."""

from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.passages import ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.extraction import Extraction
from ontogeny.measures.generation import Generation
from ontogeny.measures.questions import Questions
from ontogeny.measures.reproduction import Reproduction
from tests.measures.small import make_context, make_model, random_probe

NUDGE = 0.02
"""Of the logits' spread: less than bfloat16 rounds (0.09), so that it is no error of the way of decoding."""


@pytest.fixture
def model() -> Any:
    """In bfloat16, and with a planted rounding that is another one where several texts share a batch."""
    made = make_model(dropout=0.0, spread=0.1).bfloat16().eval()
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], 300)).bfloat16()

    def nudge(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits + (NUDGE * logits.abs().max() * signs if len(logits) > 1 and logits.dim() > 2 else 0)

    made.lm_head.register_forward_hook(nudge)
    return made


def texts(model: Any, measure: Any, probe: ProbeSet) -> list[str]:
    context = make_context(model, [probe], batch_tokens=4096)
    if isinstance(measure, Reproduction):
        samples = run_stream_looks(context, [measure])[0][measure.group].samples
    else:
        samples = measure.look(context).samples
    return [str(row["text"]) for row in samples]


def company() -> tuple[ProbeSet, list[ProbeSet]]:
    """Eight passages, and each of them in a set of its own."""
    together = random_probe("p", [40] * 8)
    return together, [ProbeSet(name="p", passages=[passage]) for passage in together.passages]


@pytest.mark.parametrize("kind", [Reproduction, Generation])
def test_a_text_is_the_same_whatever_the_batch(model: Any, kind: Any) -> None:
    settings: dict[str, Any] = {"texts": 8} if kind is Reproduction else {"prompts": 8, "new_tokens": 16, "draws": 0}
    together, each = company()
    alone = [texts(model, kind(exact=True, **settings), probe)[0] for probe in each]
    assert texts(model, kind(exact=True, **settings), together) == alone
    assert texts(model, kind(**settings), together) != alone


def test_a_sampled_text_is_the_same_whatever_the_batch(model: Any) -> None:
    together, _ = company()
    fewer = ProbeSet(name="p", passages=together.passages[:2])
    measure = Generation(exact=True, prompts=8, new_tokens=8, draws=2)
    both = [row for row in measure.look(make_context(model, [together])).samples if row["passage_id"] < 2]  # type: ignore[operator]
    assert both == measure.look(make_context(model, [fewer])).samples


def test_scores_and_answers_alone(model: Any) -> None:
    """The memorization score and answers are those of each prompt alone, too."""
    together, each = company()
    measure = Extraction(prefix_tokens=8, suffix_tokens=16, score=True, exact=True)

    def scores(probe: ProbeSet) -> list[float]:
        arrays = run_stream_looks(make_context(model, [probe], batch_tokens=4096), [measure])[0]["extraction"].arrays
        return [float(value) for value in arrays["memorization_score"].values]

    assert scores(together) == [scores(probe)[0] for probe in each]
    answers = [texts(model, Questions(at_most=n, exact=True), together) for n in (1, 5)]
    assert answers[1][:1] == answers[0]
