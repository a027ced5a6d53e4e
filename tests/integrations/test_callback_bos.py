"""In somebody's trainer, texts begin with what their tokenizer adds: losses are the model's on its ids."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

import ontogeny
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.integrations.hf_trainer import OntogenyCallback
from tests.integrations.test_hf_trainer import TEXTS, Rows, make_trainer


def tokenizer_with_bos(*, adds: bool) -> Any:
    tokenizer = train_tokenizer(TEXTS, 300)
    if adds:
        bos = tokenizer.eos_token
        number = tokenizer.convert_tokens_to_ids(bos)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, number)]
        )
    return tokenizer


@pytest.mark.parametrize("adds", [True, False])
def test_losses_are_those_of_the_model_on_the_tokenizers_ids(adds: bool, tmp_path: Path) -> None:
    """Independent: one text at a time, the tokenizer called as a user calls it, log-softmax in float64.

    With BOS the text's own first token is predicted, and BOS never is; without, the first token is not predicted.
    """
    tokenizer = tokenizer_with_bos(adds=adds)
    texts = TEXTS[:5]
    callback = OntogenyCallback(
        measures=["evaluation", "token_nll"],
        probes={"texts": texts, "rows": Rows(tokenizer, texts)},
        every_steps=2,
        to=tmp_path / "run",
    )
    trainer = make_trainer(tokenizer, tmp_path / "theirs", [callback], steps=2)
    trainer.train()
    model = trainer.model.eval()  # type: ignore[union-attr]
    sums, counts = {"texts": 0.0, "rows": 0.0}, {"texts": 0, "rows": 0}
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert (ids[0] == tokenizer.eos_token_id) == adds
        for name, given in (("texts", ids), ("rows", ids[:16])):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([given])).logits[0, :-1].double()
            log_p = torch.log_softmax(logits, dim=-1)
            sums[name] -= float(log_p[torch.arange(len(given) - 1), torch.tensor(given[1:])].sum())
            counts[name] += len(given) - 1
    run = ontogeny.open(tmp_path / "run")
    last = run.metrics[run.metrics["step"] == 2]
    for name, nll in sums.items():
        row = last[(last["name"] == "evaluation/loss") & (last["scope"] == name)]
        np.testing.assert_allclose(row["value"], nll / counts[name], rtol=1e-5)
        assert all((p.bos_tokens == 1) == adds for p in run.probes[name].passages)
