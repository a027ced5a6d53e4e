"""Text sampled from a model, for replay."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.seeds import derive_seed
from ontogeny.data.documents import GeneratedCorpus
from ontogeny.data.sampling import continuations

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 32
"""Documents sampled in parallel."""


class Dreamed(GeneratedCorpus):
    """Documents sampled from a model, for replay when the old text itself is not available.

    Pseudo-rehearsal (Robins 1995; for language models Sun et al. 2020, "LAMOL"): the model that training starts from,
    or that of another run, continues a first token that is drawn uniformly (Liu et al. 2023, "LLM-QAT") or the
    end-of-text token. It samples from its own distribution, so text that it models badly is replayed badly. A document
    ends after `tokens`, or where the model ends it. Drawn by `seed`; sampled once before training and kept in the run.
    """

    documents_count: int = Field(default=200, ge=1)
    """Number of documents."""
    tokens: int = Field(default=128, ge=2)
    """Most tokens of a document."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits before sampling; 1 is the model's own distribution."""
    begin: Literal["any_token", "end_of_text"] = "any_token"
    """any_token: each document begins with a token drawn uniformly from the vocabulary without special tokens.
    end_of_text: with what the model writes after the end-of-text token."""
    seed: int = 0
    """Seed of all draws."""

    def write(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", bos: Sequence[int] = ()
    ) -> Iterator[Document]:
        """Sample the documents. Raises DataError if they are longer than the model's context."""
        import torch

        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and self.tokens + len(bos) > limit:
            raise DataError(
                f"{self.tokens} tokens are more than the model takes: write tokens: {limit - len(bos)} or less"
            )
        first = self._first(tokenizer)
        model.eval()
        for start in range(0, self.documents_count, BATCH):
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "dreamed", start))
            rows = self._sample(model, bos, first, min(BATCH, self.documents_count - start), generator)
            for number, row in enumerate(rows.numpy(), start=start):
                kept = row[1:] if self.begin == "end_of_text" else row
                ends = np.flatnonzero(kept == tokenizer.eos_token_id)
                text = tokenizer.decode(kept[: ends[0]] if len(ends) else kept)
                assert isinstance(text, str)  # a list only for a batch
                yield Document(text=text, source=f"dreamed-{number}")

    def _first(self, tokenizer: "PreTrainedTokenizerBase") -> "Tensor":
        """The ids that a document may begin with, int64."""
        import torch

        if self.begin == "end_of_text":
            if tokenizer.eos_token_id is None:
                raise DataError("the tokenizer has no end-of-text token: write begin: any_token")
            return torch.tensor([tokenizer.eos_token_id])
        special = set(tokenizer.all_special_ids)
        return torch.tensor([token for token in range(len(tokenizer)) if token not in special])

    def _sample(
        self, model: "PreTrainedModel", bos: Sequence[int], first: "Tensor", count: int, generator: "torch.Generator"
    ) -> "Tensor":
        """Token ids, int64 `[count, tokens]` on CPU, the first token included."""
        import torch

        drawn = first[torch.randint(len(first), (count, 1), generator=generator)]
        before = torch.tensor(bos, dtype=torch.int64).expand(count, -1)
        more = self.tokens + (self.begin == "end_of_text") - 1
        with torch.no_grad():
            prompts = torch.cat([before, drawn], dim=1)
            written = continuations(model, prompts, more, self.temperature, generator)
        return torch.cat([drawn, written], dim=1)
