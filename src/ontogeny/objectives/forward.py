"""One training forward pass over a micro-batch, as loss terms see it."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class TrainForward:
    """Runs the model lazily, once, with gradients. Offers terms the same names as `contracts.ForwardBatch`.

    `batch` holds `input_ids`, `attention_mask` int64 `[B, T]` and `supervised` bool `[B, T]` (position 0 and padding
    are never supervised). `nll` `[B, T]` is in nats; where a token is not supervised it is 0 and carries no
    gradient.
    """

    def __init__(self, model: Any, batch: "Mapping[str, Tensor]") -> None:
        self.model = model
        self.input_ids = batch["input_ids"]
        self.attention_mask = batch["attention_mask"]
        self.supervised = batch["supervised"]

    @cached_property
    def output(self) -> Any:
        """The model's output. Without padding no mask is passed, which lets attention take its fast causal path."""
        mask = None if bool(self.attention_mask.all()) else self.attention_mask
        return self.model(input_ids=self.input_ids, attention_mask=mask, use_cache=False)

    @property
    def logits(self) -> "Tensor":
        """float `[B, T, V]`; position t predicts token t + 1."""
        logits: Tensor = self.output.logits
        return logits

    @cached_property
    def nll(self) -> "Tensor":
        """Negative log-likelihood of each supervised token given the ones before it, in float32 or float64."""
        from torch.nn import functional as F

        # The labels are shifted, not the logits: a slice of the logits would have to be copied, and its gradient again.
        targets = F.pad(self.input_ids.masked_fill(~self.supervised, -100), (0, 1), value=-100)[:, 1:]
        logits = self.logits.double() if self.logits.itemsize == 8 else self.logits.float()
        flat = F.cross_entropy(
            logits.view(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="none"
        )
        return F.pad(flat.view(targets.shape)[:, :-1], (1, 0))
