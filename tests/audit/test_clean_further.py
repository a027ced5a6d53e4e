"""Further trainings with nothing wrong: other adapters, modules of one's own, passes that are not the training's."""

from typing import Any

import pytest
import torch

from tests.audit.families import Plain, make
from tests.audit.loops import rows, shifted_loss
from tests.audit.test_clean import STEPPING, TARGETS, of_rows, silent, train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["prompt", "prefix", "ia3"])
def test_other_adapters(kind: str) -> None:
    """Saved and loaded onto a base from which what was trained is deleted."""
    import peft

    configs: dict[str, Any] = {
        "prompt": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=8),
        "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "ia3": lambda: peft.IA3Config(
            task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj"], feedforward_modules=[]
        ),
    }
    model = peft.get_peft_model(make("llama"), configs[kind]())
    silent(train(model, of_rows), *STEPPING)


class Scratch(Plain):
    """Keeps its last states and a mask beside its parameters, as many own models do."""

    places: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.arange(64.0), persistent=False)
        self.last = torch.zeros(1)

    def forward(self, idx: torch.Tensor) -> Any:
        logits = super().forward(idx)
        self.last = logits.detach().mean()
        return logits + 1e-3 * self.places[: idx.shape[1], None]


def test_an_own_module_that_keeps_scratch_tensors() -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        ids = rows(4, number, shortest=20)["input_ids"]
        return shifted_loss(model(ids), ids)

    silent(train(Scratch(), loss), *STEPPING, *TARGETS, "saved_model_differs")


def test_an_evaluation_at_two_batch_sizes() -> None:
    model = make("llama")
    data = [rows(1, 500 + number) for number in range(12)]

    def evaluate(batch_size: int) -> dict[str, float]:
        model.eval()
        total = count = 0.0
        with torch.no_grad():
            for start in range(0, len(data), batch_size):
                part = data[start : start + batch_size]
                batch = {name: torch.cat([one[name] for one in part]) for name in part[0]}
                tokens = int((batch["labels"][:, 1:] != -100).sum())
                total, count = total + float(model(**batch).loss) * tokens, count + tokens
        model.train()
        return {"eval_loss": total / count}

    silent(
        train(model, of_rows, evaluate=evaluate),
        "evaluation_depends_on_batch",
        "evaluation_leaves_alone",
        "evaluation_objective",
        "evaluation_token_weighted",
    )


def test_old_probabilities_of_a_batch_that_is_trained_on_in_parts() -> None:
    """As in policy optimisation: 8 rows without gradients in training mode, then twice 4 of them."""

    def loss(model: Any, number: int) -> torch.Tensor:
        batch = rows(8, number // 2)
        if number % 2 == 0:
            with torch.no_grad():
                model(**batch)
        return model(**{name: one[4 * (number % 2) :][:4] for name, one in batch.items()}).loss / 2

    silent(train(make("gpt_neox", hidden_dropout=0.1), loss, accumulation=2), *STEPPING, *TARGETS)
