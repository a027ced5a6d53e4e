"""Canaries: how much likelier the model finds a planted secret than other secrets of the same kind."""

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.core.passages import Passage
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import probe_names, variable

if TYPE_CHECKING:
    from ontogeny.models.body_and_head import BodyAndHead

_SECRET = re.compile(r"(?P<prefix>.*?)(?P<secret>(?: \d)+)\.?\s*", re.DOTALL)


class Exposure(StateMeasure):
    """Exposure of a canary (Carlini et al., "The secret sharer", 2019): log2 |R| - log2 rank, in bits.

    A canary is a passage that ends in a secret: single digits, a space before each (as the corpus `synthetic` plants
    them). The candidate space R are all 10^digits secrets of that length. `references` of them are drawn uniformly, and
    the rank of the planted one is estimated by the share that the model finds at least as likely (sum of NLL over the
    secret's tokens, given the words before it): exposure is log2(references + 1) - log2(1 + how many), at most
    log2(references + 1). Where no reference is as likely, `extrapolated` continues with a normal distribution
    fitted to the references' NLL, which is a model and not a count. Guessing gives 1 bit on average at any size of R.

    Per passage `exposure`, `extrapolated`, `secret_nll`; NaN for passages that hold no canary. Per probe set the mean
    and `n`. The candidates are drawn from seed and passage, the same ones at every state.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to search for canaries; by default all."""
    references: int = Field(default=255, ge=15)
    """Candidates to compare with."""

    cost: ClassVar[str] = "a forward pass over `references` sequences per canary"

    def look(self, context: Context) -> Observation:
        """Score each canary and its references."""
        import torch
        import xarray as xr

        from ontogeny.looking.axes import FlatAxes
        from ontogeny.models.body_and_head import BodyAndHead

        context.model.eval()
        axes = FlatAxes.of(context, probe_names(context, self.probes))
        table = {key: np.full(axes.passages, np.nan) for key in _ABOUT}
        with torch.no_grad():
            halves = BodyAndHead(context.model)
            for name, probe in axes.probes.items():
                for row, passage in enumerate(probe.passages):
                    found = self._score(context, halves, passage)
                    for key, value in found.items():
                        table[key][axes.first_passage[name] + row] = value
        parts = [table["exposure"][axes.of_probe(name)] for name in axes.probes]
        variables: dict[str, Any] = {key: variable("passage", table[key], *about) for key, about in _ABOUT.items()}
        variables["n"] = variable("probe", [int(np.isfinite(one).sum()) for one in parts], "passages", "canaries")
        variables["mean_exposure"] = variable(
            "probe", [float(np.nanmean(one)) if np.isfinite(one).any() else np.nan for one in parts], "bits", "mean"
        )
        coordinates = {**axes.probe_coordinates(), **axes.passage_coordinates()}
        return Observation(arrays=xr.Dataset(variables, coordinates, {"references": self.references}))

    def _score(self, context: Context, halves: "BodyAndHead", passage: Passage) -> dict[str, float]:
        match = _SECRET.fullmatch(passage.text)
        if match is None or not match["prefix"].strip():
            return {}
        digits = len(match["secret"]) // 2
        random = np.random.default_rng(derive_seed(context.seed, "exposure", passage.fingerprint))
        drawn = random.integers(0, 10, (self.references, digits))
        others = ["".join(f" {digit}" for digit in row) for row in drawn]
        nll = secret_nll(context, halves, match["prefix"], [match["secret"], *others])
        likelier = int((nll[1:] <= nll[0]).sum())
        return {
            "secret_nll": float(nll[0]),
            "candidates_log10": float(digits),
            **exposure_of(nll[0], nll[1:], likelier),
        }


def exposure_of(own: float, others: np.ndarray, likelier: int) -> dict[str, float]:
    """Exposure by counting, and beyond the references by their normal distribution; bits."""
    from scipy.stats import norm

    counted = float(np.log2(len(others) + 1) - np.log2(1 + likelier))
    spread = float(others.std(ddof=1))
    if likelier or not spread > 0:
        return {"exposure": counted, "extrapolated": counted}
    tail = float(-norm.logcdf((own - others.mean()) / spread) / np.log(2))
    return {"exposure": counted, "extrapolated": max(tail, counted)}


def secret_nll(context: Context, halves: "BodyAndHead", prefix: str, secrets: list[str]) -> np.ndarray:
    """NLL of each secret after the prefix, in nats, summed over its tokens: float64 [secrets].

    Prefix and secret are tokenized apart, so that each secret's tokens are those of the planted text where the
    tokenizer splits before a space, as byte-level ones do.
    """
    import torch

    encode = context.tokenizer.encode
    start = encode(prefix, add_special_tokens=False)
    rows = [start + encode(secret, add_special_tokens=False) for secret in secrets]
    found = np.zeros(len(rows))
    size = max(context.batch_tokens // max(map(len, rows)), 1)
    for first in range(0, len(rows), size):
        chosen = rows[first : first + size]
        width = max(map(len, chosen))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in chosen], device=halves.device)
        hidden = halves.body(ids).last_hidden[:, len(start) - 1 : -1]
        targets = ids[:, len(start) :]
        logits = halves.head(hidden).double()
        nll = (logits.logsumexp(dim=-1) - logits.gather(-1, targets[..., None])[..., 0]).cpu().numpy()
        real = np.arange(targets.shape[1]) < np.array([len(row) - len(start) for row in chosen])[:, None]
        found[first : first + size] = np.where(real, nll, 0).sum(axis=1)
    return found


_ABOUT = {
    "exposure": ("bits", "exposure, counted among the references"),
    "extrapolated": ("bits", "exposure, continued by a normal distribution"),
    "secret_nll": ("nats", "NLL of the secret"),
    "candidates_log10": ("1", "decimal logarithm of the size of the candidate space"),
}
