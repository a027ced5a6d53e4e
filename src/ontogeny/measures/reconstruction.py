"""What an autoencoder writes when its decoder has the latents of the text: how much of it, and what its layers do."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.data.collate import collate
from ontogeny.looking.axes import FlatAxes, numpy_of, variable
from ontogeny.looking.batch_plan import plan_batches
from ontogeny.measures.compression import Compression
from ontogeny.measures.reproduction import ABOUT, scores, shares

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.models.architectures.text_autoencoder import TextAutoencoder


class Reconstruction(StateMeasure):
    """The decoder gets the latents of a passage and its first token, and decodes greedily to the passage's length.

    Per passage the numbers of `reproduction` (accuracy, exact matches, edit distance, memorized, ...), written against
    true tokens from the second on; `nll` and `perplexity` are teacher-forced with the latents. And the scores of
    `compression`, from the decoder's states in that pass. So every analysis of generation can be made of
    reconstruction, too: `ontogeny analyze RUN --set of=reconstruction`. Needs `model: {kind: autoencoder}`.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets; by default all."""
    threshold: float = Field(default=0.6, gt=0, le=1)
    """Accuracy from which a passage counts as memorized."""
    min_tokens: int = Field(default=20, ge=3)
    """Shorter passages are skipped."""
    k: int = Field(default=15, ge=2)
    """Neighbours per token, of the compression."""

    cost: ClassVar[str] = "one pass over the probe sets, and as many decoded tokens"

    def look(self, context: Context) -> Observation:
        """Reconstruct every passage."""
        import xarray as xr

        from ontogeny.models.architectures.text_autoencoder import require_autoencoder

        model = require_autoencoder(context.model, "the measure 'reconstruction'")
        axes = FlatAxes.of(context, self.probes)
        table = {key: np.full(axes.passages, np.nan, dtype=np.float32) for key in (*ABOUT, "nll")}
        states = Compression(probes=tuple(axes.probes), k=self.k).look(context)
        model.eval()
        for name, probe in axes.probes.items():
            for rows in plan_batches(list(axes.lengths[name]), context.batch_tokens):
                passages = [probe.passages[row] for row in rows]
                seen = _pass(model, name, rows, passages)
                states.see(seen)
                written = _decode(model, seen.latents, seen.input_ids[:, :1], seen.input_ids.shape[1] - 1)
                for row, passage, nll, line in zip(rows, passages, seen.nll, written, strict=True):
                    if len(passage) >= self.min_tokens:
                        place = axes.first_passage[name] + row
                        target = passage.token_ids[1:]
                        for key, value in scores(line[: len(target)], target, self.threshold).items():
                            table[key][place] = value
                        table["nll"][place] = nll
        compression = states.result().arrays
        variables = {key: variable("passage", table[key], *about) for key, about in ABOUT.items()}
        variables |= {
            "nll": variable("passage", table["nll"], "nats", "mean NLL per token, given the latents"),
            "perplexity": variable("passage", np.exp(table["nll"]), "1", "exp of the mean NLL"),
            **shares(axes, table),
        }
        kept = ("passage_score", "passage_scale_free")
        variables |= {
            key: variable(("block", "passage"), compression[key].values, **compression[key].attrs) for key in kept
        }
        coordinates = {"block": compression.block.values, **axes.probe_coordinates(), **axes.passage_coordinates()}
        attributes = {"threshold": self.threshold, "min_tokens": self.min_tokens, "k": self.k}
        return Observation(arrays=xr.Dataset(variables, coordinates, attributes))


def _pass(model: "TextAutoencoder", probe: str, rows: np.ndarray, passages: list[Any]) -> Any:
    """One pass with latents, as `core.measures.ForwardBatch` is read by compression; `nll` [B]: means over tokens."""
    import torch
    from torch.nn import functional as F

    device = next(model.parameters()).device
    batch = {key: value.to(device) for key, value in collate(passages, 0).items()}
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        latents = model.encode(ids, mask)
        output = model(input_ids=ids, attention_mask=mask, latents=latents, use_cache=False, output_hidden_states=True)
    targets = ids.masked_fill(mask == 0, -100)[:, 1:]
    logits = output.logits[:, :-1].float()
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
    means = nll.view(targets.shape).double().sum(dim=1) / (targets >= 0).sum(dim=1).clamp(min=1)
    return SimpleNamespace(
        probe=probe,
        rows=rows,
        passages=passages,
        input_ids=ids,
        latents=latents,
        nll=numpy_of(means),
        hidden_states=output.hidden_states,
    )


def _decode(model: "TextAutoencoder", latents: "Tensor", first: "Tensor", count: int) -> np.ndarray:
    """Greedy decoding after the latents and the first token: int64 [B, count]."""
    import torch

    written = []
    with torch.no_grad():
        output = model(input_ids=first, latents=latents, use_cache=True)
        for _ in range(count):
            choice = output.logits[:, -1].argmax(dim=-1)
            written.append(numpy_of(choice))
            if len(written) < count:
                output = model(input_ids=choice[:, None], past_key_values=output.past_key_values, use_cache=True)
    return np.stack(written, axis=1) if written else np.zeros((len(first), 0), dtype=np.int64)
