"""Canaries: how a planted secret ranks, by likelihood, among other secrets of the same form."""

import re
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.passages import Passage
from ontogeny.core.seeds import derive_seed
from ontogeny.data.bos import Bos
from ontogeny.looking.axes import FlatAxes, dataset, variable

if TYPE_CHECKING:
    from ontogeny.models.body_and_head import BodyAndHead

_SECRET = re.compile(r"(?P<prefix>.*?)(?<! \d)(?P<secret>(?: \d)+)\.?\s*", re.DOTALL)


class Exposure(StateMeasure):
    """Exposure of a canary (Carlini et al., "The secret sharer", 2019): log2 |R| - log2 rank, in bits.

    A canary is a passage that ends in a secret: single digits, each after a space, as the corpus `synthetic` plants
    them. R is the space of all 10^digits secrets of that length. The rank is estimated from `references` secrets drawn
    uniformly from R: with c of them at least as likely as the planted one (sum of NLL over the secret's tokens, given
    the text before it), exposure is log2(references + 1) - log2(1 + c), at most log2(references + 1). If c = 0,
    `extrapolated` continues with a normal distribution fitted to the references' NLL; that is a model, not a count.
    A secret that the model does not know has about 1.4 bits on average, whatever the size of R.

    Per passage `exposure`, `extrapolated` and `secret_nll`, NaN for passages without a canary. Per probe set the mean
    and `n`. References are drawn by seed and passage, so they are the same at every state.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to search for canaries; by default all."""
    references: int = Field(default=255, ge=15)
    """Secrets to compare each canary with."""

    cost: ClassVar[str] = "a forward pass over `references` sequences per canary"

    def look(self, context: Context) -> Observation:
        """Score each canary and its references."""
        import torch

        from ontogeny.models.body_and_head import BodyAndHead

        context.model.eval()
        axes = FlatAxes.of(context, self.probes)
        table = {key: np.full(axes.passages, np.nan) for key in _ABOUT}
        with torch.no_grad():
            body_and_head = BodyAndHead(context.model)
            for name, probe in axes.probes.items():
                for row, passage in enumerate(probe.passages):
                    for key, value in self._score(context, body_and_head, passage).items():
                        table[key][axes.first_passage[name] + row] = value
        by_probe = [table["exposure"][part] for part in axes.probe_slices()]
        counts = [int(np.isfinite(exposure).sum()) for exposure in by_probe]
        means = [float(np.nanmean(exposure)) if n else np.nan for exposure, n in zip(by_probe, counts, strict=True)]
        variables = {key: variable("passage", table[key], *about) for key, about in _ABOUT.items()}
        variables["n"] = variable("probe", counts, "passages", "canaries")
        variables["mean_exposure"] = variable("probe", means, "bits", "mean")
        coordinates = (axes.probe_coordinates(), axes.passage_coordinates())
        return Observation(arrays=dataset(variables, *coordinates, references=self.references))

    def _score(self, context: Context, body_and_head: "BodyAndHead", passage: Passage) -> dict[str, float]:
        """The passage's numbers, by the keys of _ABOUT; none if it holds no canary."""
        match = _SECRET.fullmatch(passage.text)
        if match is None or not match["prefix"].strip():
            return {}
        digits = len(match["secret"]) // 2
        random = np.random.default_rng(derive_seed(context.seed, "exposure", passage.fingerprint))
        drawn = random.integers(0, 10, (self.references, digits))
        references = ["".join(f" {digit}" for digit in row) for row in drawn]
        nll = secret_nll(context, body_and_head, match["prefix"], [match["secret"], *references])
        as_likely = int((nll[1:] <= nll[0]).sum())
        return {
            "secret_nll": float(nll[0]),
            "candidates_log10": float(digits),
            **exposure_of(nll[0], nll[1:], as_likely),
        }


def exposure_of(planted: float, references: np.ndarray, as_likely: int) -> dict[str, float]:
    """Exposure in bits: by counting, and by a normal distribution where no reference is as likely as the planted one.

    `planted` and `references` are NLL in nats; `as_likely` counts the references with an NLL that is not higher.
    """
    from scipy.stats import norm

    counted = float(np.log2(len(references) + 1) - np.log2(1 + as_likely))
    spread = float(references.std(ddof=1))
    if as_likely or not spread > 0:
        return {"exposure": counted, "extrapolated": counted}
    tail = float(-norm.logcdf((planted - references.mean()) / spread) / np.log(2))
    return {"exposure": counted, "extrapolated": max(tail, counted)}


def secret_nll(context: Context, body_and_head: "BodyAndHead", prefix: str, secrets: list[str]) -> np.ndarray:
    """NLL of each secret after the prefix, in nats, summed over its tokens: float64 [secrets].

    What stands before the run's texts stands before the prefix. Prefix and secret are tokenized apart. If the tokenizer
    splits before a space, as byte-level ones do, the tokens are those of the planted text.
    """
    import torch

    encode = context.tokenizer.encode
    text = np.array(encode(prefix, add_special_tokens=False), dtype=np.int32)
    start = Bos(token_ids=context.bos).with_ids(text).tolist()
    rows = [start + encode(secret, add_special_tokens=False) for secret in secrets]
    summed = np.zeros(len(rows))
    size = max(context.batch_tokens // max(map(len, rows)), 1)
    for first in range(0, len(rows), size):
        batch = rows[first : first + size]
        width = max(map(len, batch))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in batch], device=body_and_head.device)
        hidden = body_and_head.body(ids).last_hidden[:, len(start) - 1 : -1]
        targets = ids[:, len(start) :]
        logits = body_and_head.head(hidden).double()
        nll = (logits.logsumexp(dim=-1) - logits.gather(-1, targets[..., None])[..., 0]).cpu().numpy()
        real = np.arange(targets.shape[1]) < np.array([len(row) - len(start) for row in batch])[:, None]
        summed[first : first + size] = np.where(real, nll, 0).sum(axis=1)
    return summed


_ABOUT = {
    "exposure": ("bits", "exposure, counted among the references"),
    "extrapolated": ("bits", "exposure, continued by a normal distribution"),
    "secret_nll": ("nats", "NLL of the secret"),
    "candidates_log10": ("1", "decimal logarithm of the size of the candidate space"),
}
