"""Shrink the weights and add noise, so that there is something to learn with again."""

from pydantic import Field

from ontogeny.core.contracts import Context
from ontogeny.core.errors import OntogenyError
from ontogeny.core.interventions import Change, Intervention
from ontogeny.core.seeds import derive_seed


class ShrinkAndPerturb(Intervention):
    """Matrices become shrink x theta + noise x sigma x e, with e drawn from N(0, 1) (Ash & Adams 2020).

    sigma is the spread that the architecture draws its matrices with (`initializer_range` of the configuration), so
    noise 1 adds as much as there is in a model from scratch. Vectors (biases, norms) stay: they do not begin as noise.
    The optimizer's moments of what was changed begin anew. Drawn from seed, step and tensor.

    Records `shrink_and_perturb_distance`: L2 norm of the change by that of the changed weights.
    """

    shrink: float = Field(default=0.8, ge=0, le=1)
    """Factor of the weights."""
    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of what is added, by that of a model from scratch."""

    def apply(self, context: Context) -> Change:
        """Shrink and perturb every matrix."""
        import torch

        sigma = getattr(context.model.config.get_text_config(), "initializer_range", None)
        if sigma is None:
            raise OntogenyError("shrink_and_perturb: the model's configuration has no initializer_range to scale noise")
        weights, squares = {}, [0.0, 0.0]
        for name, parameter in context.model.named_parameters():
            if parameter.ndim < 2:
                continue
            before = parameter.detach().cpu()
            seed = derive_seed(context.seed, "shrink_and_perturb", context.progress.step, name)
            drawn = torch.randn(before.shape, generator=torch.Generator().manual_seed(seed), dtype=before.dtype)
            weights[name] = self.shrink * before + self.noise * sigma * drawn
            squares[0] += float((weights[name] - before).double().square().sum())
            squares[1] += float(before.double().square().sum())
        anew = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in weights.items()}
        return Change(weights=weights, anew=anew, seen={"distance": (squares[0] / squares[1]) ** 0.5})
