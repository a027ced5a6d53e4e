"""Shrink the weights and add noise, to restore the ability to learn."""

from pydantic import Field

from ontogeny.core.errors import OntogenyError
from ontogeny.core.interventions import Change, Intervention
from ontogeny.core.measures import Context
from ontogeny.core.seeds import derive_seed


class ShrinkAndPerturb(Intervention):
    """Matrices become shrink x theta + noise x sigma x e, with e drawn from N(0, 1) (Ash & Adams 2020).

    theta are the weights and sigma is the standard deviation with which the architecture initialises its matrices
    (`initializer_range` of the configuration), so noise 1 adds as much noise as a model from scratch consists of.
    Vectors (biases, norms) stay unchanged, because they are not initialised as noise. The optimizer's moments of the
    changed weights are reset. The noise is drawn by seed, step and tensor.

    Records `shrink_and_perturb_distance`: L2 norm of the change / L2 norm of the changed weights before.
    """

    shrink: float = Field(default=0.8, ge=0, le=1)
    """Factor of the weights."""
    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the noise, relative to that of a model from scratch."""

    def apply(self, context: Context) -> Change:
        """Shrink and perturb every matrix."""
        import torch

        sigma = getattr(context.model.config.get_text_config(), "initializer_range", None)
        if sigma is None:
            raise OntogenyError("shrink_and_perturb: the model's configuration has no initializer_range to scale noise")
        weights = {}
        change_square = weights_square = 0.0
        for name, parameter in context.model.named_parameters():
            if parameter.ndim < 2:
                continue
            before = parameter.detach().cpu()
            seed = derive_seed(context.seed, "shrink_and_perturb", context.progress.step, name)
            drawn = torch.randn(before.shape, generator=torch.Generator().manual_seed(seed), dtype=before.dtype)
            weights[name] = self.shrink * before + self.noise * sigma * drawn
            change_square += float((weights[name] - before).double().square().sum())
            weights_square += float(before.double().square().sum())
        everywhere = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in weights.items()}
        return Change(
            weights=weights, reset_moments=everywhere, values={"distance": (change_square / weights_square) ** 0.5}
        )
