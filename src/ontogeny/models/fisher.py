"""The diagonal of the Fisher information: how much a model's predictions depend on each of its parameters."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.core.seeds import derive_seed
from ontogeny.data.collate import collate
from ontogeny.models.body_and_head import side_arguments

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

Labels = Literal["sampled", "data"]


@dataclass(frozen=True, kw_only=True)
class Fisher:
    """Diagonal of the Fisher information, per example: `values[name]` float32, shaped as that parameter.

    F_i = mean over examples of (d log p(example) / d theta_i)^2, where log p(example) is the *sum* of the
    log-likelihoods (nats) of its supervised tokens. So F grows with the length of examples; `per_token` normalises it.
    """

    values: "Mapping[str, Tensor]"
    examples: int
    tokens: int
    """Supervised tokens of all examples together."""

    def per_token(self) -> "dict[str, Tensor]":
        """F divided by the mean number of supervised tokens of an example: the Fisher information of one token.

        With sampled labels: a small random change d of the weights, independent across parameters, raises the mean KL
        divergence per token from the unchanged model by 1/2 sum_i F_i d_i^2 in expectation.
        """
        scale = self.examples / self.tokens
        return {name: value * scale for name, value in self.values.items()}


def diagonal_fisher(
    model: "PreTrainedModel", passages: Sequence[Passage], *, labels: Labels = "sampled", seed: int = 0, batch: int = 16
) -> Fisher:
    """Fisher diagonal of every parameter (tied ones once, by their first name) on these passages.

    `labels`: `sampled` draws a label from the model at every supervised position, given the passage's own tokens before
    it, and estimates the true Fisher information (one draw); `data` takes the passage's own tokens and gives the
    empirical Fisher information, which differs unless the model fits its data (Kunstner et al. 2019, "Limitations of
    the empirical Fisher approximation"). Draws depend only on `seed` and the passage's number, so the result does not
    depend on `batch` beyond rounding.

    Per-example gradients come from one batched backward pass: hooks record each layer's input and the gradient of its
    output, whose product per example is the gradient of its weights (Goodfellow 2015, "Efficient per-example gradient
    computations"). Supported are linear layers, embeddings and layer norms. The first two passages are checked against
    one backward pass per passage. If they differ (another kind of layer), all passages go one by one, which is slower
    and gives the same numbers.

    The model must be in evaluation mode. Parameters, gradients and `requires_grad` are left unchanged. Memory: the
    gradients of all layers' outputs for one batch. Raises DataError if no passage has a token to predict.
    """
    tokens = sum(int(passage.supervised[1:].sum()) for passage in passages)
    if not tokens:
        raise DataError("the Fisher information needs passages with tokens to predict: these have none")
    targets = Targets(labels, seed)
    first_two = passages[:2]
    reference = one_by_one(model, first_two, targets, 0)
    try:
        hooks_work = _agree(_hooked(model, first_two, targets, 0), reference)
    except _UnknownLayerError:
        hooks_work = False
    squared_gradients = _hooked if hooks_work else one_by_one
    sums = {name: parameter.new_zeros(parameter.shape) for name, parameter in model.named_parameters()}
    for start in range(0, len(passages), batch):
        for name, squares in squared_gradients(model, passages[start : start + batch], targets, start).items():
            sums[name] += squares
    values = {name: value / len(passages) for name, value in sums.items()}
    return Fisher(values=values, examples=len(passages), tokens=tokens)


class Targets:
    """The labels of passages: int64 `[B, T]`, at position t the label of the prediction of token t."""

    def __init__(self, labels: Labels, seed: int) -> None:
        self.labels, self.seed = labels, seed

    def __call__(self, logits: "Tensor", input_ids: "Tensor", first: int) -> "Tensor":
        """Labels of a batch, of which `first` is the first passage's number. `logits` [B, T, V], `input_ids` [B, T]."""
        import torch

        if self.labels == "data":
            return input_ids
        drawn = input_ids.clone()
        for row in range(len(drawn)):
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "fisher labels", first + row))
            uniform = torch.rand(drawn.shape[1] - 1, 1, generator=generator).to(logits.device)
            cumulative = logits[row, :-1].detach().float().softmax(-1).cumsum(-1)
            # Scaled by the last value, which rounding keeps from being exactly 1.
            labels = torch.searchsorted(cumulative, uniform * cumulative[:, -1:])[:, 0]
            drawn[row, 1:] = labels.clamp(max=logits.shape[-1] - 1)
        return drawn


def log_likelihood(model: "PreTrainedModel", passages: Sequence[Passage], targets: Targets, first: int) -> "Tensor":
    """Log-likelihood of a batch's supervised tokens, summed, in nats.

    No attention mask: the batch is padded on the right, and in a causal model no token attends to padding after it.
    """
    from torch.nn.functional import cross_entropy

    device = next(model.parameters()).device
    batch = collate(passages, 0).to(device)
    logits = model(input_ids=batch["input_ids"], use_cache=False, **side_arguments(model, batch.sides)).logits
    labels = targets(logits, batch["input_ids"], first).masked_fill(~batch["supervised"], -100)[:, 1:]
    return -cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels.flatten(), ignore_index=-100, reduction="sum")


def one_by_one(
    model: "PreTrainedModel", passages: Sequence[Passage], targets: Targets, first: int
) -> "dict[str, Tensor]":
    """Squared gradients, summed over passages, by the definition: one backward pass per passage."""
    import torch

    parameters = dict(model.named_parameters())
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with torch.enable_grad(), _requires_grad(model, True):
        for number, passage in enumerate(passages):
            total = log_likelihood(model, [passage], targets, first + number)
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    sums[name].addcmul_(gradient, gradient)
    return sums


class _UnknownLayerError(Exception):
    """A layer whose input and output do not have one row per example, or of a class that is not known."""


@dataclass(kw_only=True)
class _Call:
    """One call of a layer: its input and the gradient of its output, `[B, …, width]` each."""

    layer: "nn.Module"
    inputs: "Tensor"
    gradient: "Tensor | None" = None


def _hooked(model: "PreTrainedModel", passages: Sequence[Passage], targets: Targets, first: int) -> "dict[str, Tensor]":
    """Squared gradients, summed over passages, from one backward pass. Raises _UnknownLayerError."""
    import torch

    # Parameters need no gradient of their own: it is computed from the recorded inputs and output gradients.
    with torch.enable_grad(), _requires_grad(model, False), _recorded_calls(model, len(passages)) as calls:
        log_likelihood(model, passages, targets, first).backward()
    of_parameter: dict[int, list[tuple[_Call, bool]]] = defaultdict(list)  # a tied parameter has several calls
    for call in calls:
        for name, parameter in call.layer.named_parameters(recurse=False):
            if call.gradient is not None:
                of_parameter[id(parameter)].append((call, name == "bias"))
    with torch.no_grad():
        return {
            name: _squares(parameter, of_parameter.get(id(parameter), []))
            for name, parameter in model.named_parameters()
        }


@contextmanager
def _requires_grad(model: "nn.Module", wanted: bool) -> Iterator[None]:
    """Set `requires_grad` of all parameters for a while."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(wanted)
        yield
    finally:
        for parameter, was in before:
            parameter.requires_grad_(was)


@contextmanager
def _recorded_calls(model: "nn.Module", examples: int) -> Iterator[list[_Call]]:
    """The calls of all supported layers in a forward and backward pass inside."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    calls: list[_Call] = []

    def record(layer: "nn.Module", inputs: "tuple[Tensor, ...]", output: "Tensor") -> "Tensor":
        layer_input = inputs[0].detach()
        if isinstance(layer, nn.Embedding):
            if len(layer_input) == 1 < examples:  # positions, which are looked up once for all examples
                layer_input = layer_input.expand(examples, -1)
                output = output.expand(examples, *output.shape[1:])
            # The graph begins here: no parameter requires a gradient.
            output = output.requires_grad_() if not output.requires_grad else output
        if len(layer_input) != examples or layer_input.ndim + isinstance(layer, nn.Embedding) < 3:
            raise _UnknownLayerError
        if output.requires_grad:
            call = _Call(layer=layer, inputs=layer_input)
            output.register_hook(lambda gradient: setattr(call, "gradient", gradient))
            calls.append(call)
        return output

    supported = (nn.Linear, nn.Embedding, nn.LayerNorm, Conv1D)
    handles = [layer.register_forward_hook(record) for layer in model.modules() if isinstance(layer, supported)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _squares(parameter: "Tensor", calls: "Sequence[tuple[_Call, bool]]") -> "Tensor":
    """Sum over examples of the squared gradient, which itself is a sum over the calls that use the parameter."""
    import torch
    from torch import nn

    squares = torch.zeros_like(parameter)
    if not calls:
        return squares
    if parameter.ndim == 1:
        gradient: Tensor = torch.stack([_vector_gradients(call, is_bias) for call, is_bias in calls]).sum(0)
        return squares.add_(gradient.square().sum(0))
    if len(calls) == 1 and isinstance(calls[0][0].layer, nn.Embedding):
        return _add_embedding_rows(squares, calls[0][0])
    matrix = torch.empty_like(parameter)
    for example in range(len(calls[0][0].inputs)):
        for number, (call, _) in enumerate(calls):
            if type(call.layer).__name__ not in _ADD:  # a subclass, such as Gemma's embedding, which scales
                raise _UnknownLayerError
            _ADD[type(call.layer).__name__](matrix, call, example, 0.0 if number == 0 else 1.0)
        squares.addcmul_(matrix, matrix)
    return squares


def _vector_gradients(call: _Call, is_bias: bool) -> "Tensor":
    """Gradients of a bias, or of a layer norm's gain: `[B, width]`."""
    from torch import nn
    from torch.nn.functional import layer_norm

    assert call.gradient is not None
    gradient = call.gradient
    if not is_bias:
        assert isinstance(call.layer, nn.LayerNorm)
        gradient = gradient * layer_norm(call.inputs, call.layer.normalized_shape, eps=call.layer.eps)
    return gradient.flatten(1, -2).sum(1)


def _add_linear(matrix: "Tensor", call: _Call, example: int, kept: float) -> None:
    assert call.gradient is not None
    matrix.addmm_(call.gradient[example].flatten(0, -2).T, call.inputs[example].flatten(0, -2), beta=kept)


def _add_conv1d(matrix: "Tensor", call: _Call, example: int, kept: float) -> None:
    """As a linear layer, with the weight transposed."""
    assert call.gradient is not None
    matrix.addmm_(call.inputs[example].flatten(0, -2).T, call.gradient[example].flatten(0, -2), beta=kept)


def _add_embedding(matrix: "Tensor", call: _Call, example: int, kept: float) -> None:
    assert call.gradient is not None
    matrix.mul_(kept) if kept else matrix.zero_()  # 0 x an uninitialised value may be NaN
    matrix.index_add_(0, call.inputs[example].flatten(), _looked_up(call, example))


_ADD: dict[str, Callable[["Tensor", _Call, int, float], None]] = {
    "Linear": _add_linear,
    "Conv1D": _add_conv1d,
    "Embedding": _add_embedding,
}
"""By class of layer: set a matrix to `kept` (0 or 1) times itself plus one example's gradient of the weights."""


def _looked_up(call: _Call, example: int) -> "Tensor":
    """Gradients of the rows that an example looks up; that of the padding row is always 0."""
    from torch import nn

    assert call.gradient is not None
    assert isinstance(call.layer, nn.Embedding)
    gradient = call.gradient[example].flatten(0, -2)
    if call.layer.padding_idx is None:
        return gradient
    return gradient * (call.inputs[example].flatten() != call.layer.padding_idx)[:, None]


def _add_embedding_rows(squares: "Tensor", call: _Call) -> "Tensor":
    """Add the squared gradients of an embedding, computing only the rows that an example looks up."""
    for example in range(len(call.inputs)):
        rows, place = call.inputs[example].flatten().unique(return_inverse=True)
        summed = squares.new_zeros((len(rows), squares.shape[1])).index_add_(0, place, _looked_up(call, example))
        squares[rows] += summed.square()
    return squares


def _agree(squares: "Mapping[str, Tensor]", reference: "Mapping[str, Tensor]") -> bool:
    """Are two sets of squares equal up to rounding, tensor by tensor?"""
    largest = max(float(values.norm()) for values in reference.values())
    return all(
        float((squares[name] - values).norm()) <= 1e-3 * float(values.norm()) + 1e-9 * largest
        for name, values in reference.items()
    )
