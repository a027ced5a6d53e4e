"""The diagonal of the Fisher information: how much what a model says depends on each of its parameters."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.core.seeds import derive_seed
from ontogeny.data.collate import collate

if TYPE_CHECKING:
    from torch import Tensor

Labels = Literal["sampled", "data"]


@dataclass(frozen=True, kw_only=True)
class Fisher:
    """Diagonal of the Fisher information, per example: `values[name]` float32, shaped as that parameter.

    F_i = mean over examples of (d log p(example) / d theta_i)^2, where log p(example) is the *sum* of the
    log-likelihoods (nats) of its supervised tokens. So F grows with the length of examples; `per_token` divides by it.
    """

    values: "Mapping[str, Tensor]"
    examples: int
    tokens: int
    """Supervised tokens of all examples together."""

    def per_token(self) -> "dict[str, Tensor]":
        """F by the mean number of supervised tokens of an example, as the Fisher information of one token.

        With sampled labels, a small independent random change d of the weights then raises the mean KL divergence per
        token, from the model as it was, by 1/2 sum_i F_i d_i^2 in expectation.
        """
        scale = self.examples / self.tokens
        return {name: value * scale for name, value in self.values.items()}


def diagonal_fisher(
    model: Any, passages: Sequence[Passage], *, labels: Labels = "sampled", seed: int = 0, batch: int = 16
) -> Fisher:
    """Fisher diagonal of every parameter (tied ones once, by their first name) on these passages.

    `labels`: `sampled` from the model at every supervised position, given the passage's own tokens before it: the true
    Fisher information (one draw); `data`: the passage's own tokens, the empirical one, which is something else away
    from a model that fits its data (Kunstner et al. 2019, "Limitations of the empirical Fisher approximation"). Draws
    depend on `seed` and the passage's number alone, so the result does not depend on `batch` beyond rounding.

    Per-example gradients come from one batched backward pass: hooks catch each layer's input and the gradient of its
    output, whose product per example is its gradient (Goodfellow 2015, "Efficient per-example gradient computations").
    This knows linear layers, embeddings and layer norms. On the first two passages it is compared with one backward
    pass per passage; where they differ (another kind of layer), all passages go one by one: slower, the same numbers.

    The model must be in evaluation mode; parameters, gradients and `requires_grad` are left as they were. Memory: the
    gradients of all layers' outputs for one batch. Raises DataError if no passage has a token to predict.
    """
    tokens = sum(int(passage.supervised[1:].sum()) for passage in passages)
    if not tokens:
        raise DataError("the Fisher information needs passages with tokens to predict: these have none")
    drawn = Drawn(labels, seed)
    parameters = dict(model.named_parameters())
    head, known = passages[:2], True
    checked = one_by_one(model, head, drawn, 0)
    try:
        known = _agree(_hooked(model, head, drawn, 0), checked)
    except _UnknownLayerError:
        known = False
    sums = {name: parameter.new_zeros(parameter.shape) for name, parameter in parameters.items()}
    for start in range(0, len(passages), batch):
        squares = (_hooked if known else one_by_one)(model, passages[start : start + batch], drawn, start)
        for name, value in squares.items():
            sums[name] += value
    values = {name: value / len(passages) for name, value in sums.items()}
    return Fisher(values=values, examples=len(passages), tokens=tokens)


class Drawn:
    """The labels of passages: int64 `[B, T]`, of which position t is what is predicted there."""

    def __init__(self, labels: Labels, seed: int) -> None:
        self.labels, self.seed = labels, seed

    def __call__(self, logits: "Tensor", input_ids: "Tensor", first: int) -> "Tensor":
        """`first`: number of the first passage of the batch."""
        import torch

        if self.labels == "data":
            return input_ids
        drawn = input_ids.clone()
        for row in range(len(drawn)):
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "fisher labels", first + row))
            uniform = torch.rand(drawn.shape[1] - 1, 1, generator=generator).to(logits.device)
            below = logits[row, :-1].detach().float().softmax(-1).cumsum(-1)
            drawn[row, 1:] = torch.searchsorted(below, uniform * below[:, -1:])[:, 0].clamp(max=logits.shape[-1] - 1)
        return drawn


def log_likelihood(model: Any, passages: Sequence[Passage], drawn: Drawn, first: int) -> "Tensor":
    """Sum over the supervised tokens of a batch, padded on the right; a causal model needs no mask for that."""
    from torch.nn.functional import cross_entropy

    device = next(model.parameters()).device
    batch = collate(passages, 0).to(device)
    logits = model(input_ids=batch["input_ids"], use_cache=False).logits
    targets = drawn(logits, batch["input_ids"], first).masked_fill(~batch["supervised"], -100)[:, 1:]
    return -cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction="sum")


def one_by_one(model: Any, passages: Sequence[Passage], drawn: Drawn, first: int) -> "dict[str, Tensor]":
    """Squared gradients, summed over passages, by the definition: a backward pass for each."""
    import torch

    parameters = dict(model.named_parameters())
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with torch.enable_grad(), _requiring(model, True):
        for number, passage in enumerate(passages):
            total = log_likelihood(model, [passage], drawn, first + number)
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    sums[name].addcmul_(gradient, gradient)
    return sums


class _UnknownLayerError(Exception):
    """A layer whose input and output do not lie along examples."""


@dataclass(kw_only=True)
class _Use:
    """One call of a layer: its input and the gradient of its output, `[B, …, width]` each."""

    layer: Any
    inputs: "Tensor"
    gradient: "Tensor | None" = None


def _hooked(model: Any, passages: Sequence[Passage], drawn: Drawn, first: int) -> "dict[str, Tensor]":
    """Squared gradients, summed over passages, from one backward pass. Raises _UnknownLayerError."""
    import torch

    with torch.enable_grad(), _requiring(model, False), _caught(model, len(passages)) as uses:
        total = log_likelihood(model, passages, drawn, first)
        total.backward()
    of_parameter: dict[int, list[tuple[_Use, bool]]] = defaultdict(list)
    for use in uses:
        for name, parameter in use.layer.named_parameters(recurse=False):
            if use.gradient is not None:
                of_parameter[id(parameter)].append((use, name == "bias"))
    found = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            found[name] = _squares(parameter, of_parameter.get(id(parameter), []))
    return found


@contextmanager
def _requiring(model: Any, wanted: bool) -> Iterator[None]:
    """Do all parameters, or none, ask for gradients? None: only what lies between them is differentiated."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(wanted)
        yield
    finally:
        for parameter, was in before:
            parameter.requires_grad_(was)


@contextmanager
def _caught(model: Any, examples: int) -> Iterator[list[_Use]]:
    """What goes through the layers that are known, in a forward and backward pass inside."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    uses: list[_Use] = []

    def catch(layer: Any, inputs: Any, output: Any) -> Any:
        given = inputs[0].detach()
        if isinstance(layer, nn.Embedding):
            if len(given) == 1 < examples:  # positions, looked up once for all examples
                given, output = given.expand(examples, -1), output.expand(examples, *output.shape[1:])
            output = output.requires_grad_() if not output.requires_grad else output
        if len(given) != examples or given.ndim + isinstance(layer, nn.Embedding) < 3:
            raise _UnknownLayerError
        if output.requires_grad:
            use = _Use(layer=layer, inputs=given)
            output.register_hook(lambda gradient: setattr(use, "gradient", gradient))
            uses.append(use)
        return output

    known = (nn.Linear, nn.Embedding, nn.LayerNorm, Conv1D)
    handles = [layer.register_forward_hook(catch) for layer in model.modules() if isinstance(layer, known)]
    try:
        yield uses
    finally:
        for handle in handles:
            handle.remove()


def _squares(parameter: "Tensor", uses: "Sequence[tuple[_Use, bool]]") -> "Tensor":
    """Sum over examples of the squared gradient, which is the sum over the parameter's uses of theirs."""
    import torch
    from torch import nn

    squares = torch.zeros_like(parameter)
    if not uses:
        return squares
    if parameter.ndim == 1:
        gradient: Tensor = torch.stack([_vectors(use, is_bias) for use, is_bias in uses]).sum(0)
        return squares.add_(gradient.square().sum(0))
    if len(uses) == 1 and isinstance(uses[0][0].layer, nn.Embedding):
        return _add_rows(squares, uses[0][0])
    matrix = torch.empty_like(parameter)
    for example in range(len(uses[0][0].inputs)):
        for number, (use, _) in enumerate(uses):
            _ADD[type(use.layer).__name__](matrix, use, example, 0.0 if number == 0 else 1.0)
        squares.addcmul_(matrix, matrix)
    return squares


def _vectors(use: _Use, is_bias: bool) -> "Tensor":
    """Gradients of a bias, or of a layer norm's gain: `[B, width]`."""
    from torch.nn.functional import layer_norm

    assert use.gradient is not None
    gradient = use.gradient
    if not is_bias:
        gradient = gradient * layer_norm(use.inputs, use.layer.normalized_shape, eps=use.layer.eps)
    return gradient.flatten(1, -2).sum(1)


def _linear(matrix: "Tensor", use: _Use, example: int, kept: float) -> None:
    assert use.gradient is not None
    matrix.addmm_(use.gradient[example].flatten(0, -2).T, use.inputs[example].flatten(0, -2), beta=kept)


def _conv1d(matrix: "Tensor", use: _Use, example: int, kept: float) -> None:
    assert use.gradient is not None
    matrix.addmm_(use.inputs[example].flatten(0, -2).T, use.gradient[example].flatten(0, -2), beta=kept)


def _embedding(matrix: "Tensor", use: _Use, example: int, kept: float) -> None:
    assert use.gradient is not None
    matrix.mul_(kept) if kept else matrix.zero_()
    matrix.index_add_(0, use.inputs[example].flatten(), _looked_up(use, example))


_ADD: dict[str, Callable[["Tensor", _Use, int, float], None]] = {
    "Linear": _linear,
    "Conv1D": _conv1d,
    "Embedding": _embedding,
}
"""By kind of layer: one example's gradient of the weights, added to `kept` (0 or 1) times a matrix."""


def _looked_up(use: _Use, example: int) -> "Tensor":
    """Gradients of the rows that an example looks up; that of the padding row is always 0."""
    assert use.gradient is not None
    gradient = use.gradient[example].flatten(0, -2)
    if use.layer.padding_idx is None:
        return gradient
    return gradient * (use.inputs[example].flatten() != use.layer.padding_idx)[:, None]


def _add_rows(squares: "Tensor", use: _Use) -> "Tensor":
    """Of an embedding, only the rows that an example looks up."""
    for example in range(len(use.inputs)):
        rows, place = use.inputs[example].flatten().unique(return_inverse=True)
        summed = squares.new_zeros((len(rows), squares.shape[1])).index_add_(0, place, _looked_up(use, example))
        squares[rows] += summed.square()
    return squares


def _agree(one: "Mapping[str, Tensor]", other: "Mapping[str, Tensor]") -> bool:
    """Are two sets of squares the same up to rounding, tensor by tensor?"""
    largest = max(float(value.norm()) for value in other.values())
    return all(
        float((one[name] - value).norm()) <= 1e-3 * float(value.norm()) + 1e-9 * largest
        for name, value in other.items()
    )
