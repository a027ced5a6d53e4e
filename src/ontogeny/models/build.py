"""Build or load the model of a recipe, with one place that talks to transformers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import DataError, RecipeError
from ontogeny.core.kinds import find, kinds_of
from ontogeny.core.model_sources import ModelSource
from ontogeny.core.origin import Origin
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_train import Lora
from ontogeny.data.tokenizer import looks_local
from ontogeny.models.body_and_head import BodyAndHead, shape_of
from ontogeny.models.weights import own_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_DROPOUT_FIELDS = (
    "dropout",
    "hidden_dropout",
    "attention_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "activation_dropout",
)


@dataclass(frozen=True, kw_only=True)
class LoadContext:
    """What a model source needs to know."""

    tokenizer: "PreTrainedTokenizerFast"
    length: int
    """Longest sequence of the recipe, in tokens."""
    seed: int
    dropout: float | None = None
    origin: Origin | None = None
    """Where the model exists already, as its source found it."""

    def load_pretrained(self, origin: Origin) -> "PreTrainedModel":
        """Load an existing model in float32, a LoRA adapter merged into it."""
        overrides: dict[str, Any] = {}
        if self.dropout is not None:
            overrides = {name: self.dropout for name in _DROPOUT_FIELDS if hasattr(read_config(origin), name)}
        return load_causal_lm(origin, **overrides)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an existing model can take."""

    vocab_size: int | None = None
    context_length: int | None = None


def register_architectures() -> None:
    """Let transformers' Auto classes load the models of every source, third parties' too."""
    room = "ontogeny.models.sources"
    for kind in kinds_of(room):
        source = find(room, kind)
        assert issubclass(source, ModelSource)
        source.register()


def read_config(origin: Origin) -> Any:
    """The model's configuration. Raises RecipeError if there is no model, or an encoder with a decoder."""
    from transformers import AutoConfig

    register_architectures()
    _require_local_model(origin.path)
    try:
        config = AutoConfig.from_pretrained(
            origin.path, revision=origin.revision, trust_remote_code=origin.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise RecipeError(f"model '{origin.path}' cannot be loaded: {_first_line(error)}") from None
    if config.is_encoder_decoder:
        raise RecipeError(
            f"model '{origin.path}' ({config.model_type}) is an encoder with a decoder: Ontogeny trains and measures "
            "causal language models; write the path of one, such as GPT-2, Llama or Mamba"
        )
    return config


def read_limits(origin: Origin) -> Limits:
    """Vocabulary and context length, from the configuration alone."""
    text = read_config(origin).get_text_config()
    return Limits(
        vocab_size=getattr(text, "vocab_size", None), context_length=getattr(text, "max_position_embeddings", None)
    )


def load_causal_lm(origin: Origin, *, as_saved: bool = False, **config_overrides: Any) -> "PreTrainedModel":
    """Load a causal language model in float32 (or as it was saved) on CPU; merge its LoRA adapter, if any.

    Raises RecipeError if there is none, or if its files are damaged or do not belong together.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    config = read_config(origin)
    if hasattr(config, "rescale_every"):
        # RWKV halves weights in place in evaluation mode, for float16: a checkpoint taken after a look would hold them.
        config_overrides["rescale_every"] = 0
    try:
        with _no_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                origin.path,
                revision=origin.revision,
                dtype="auto" if as_saved else torch.float32,
                trust_remote_code=origin.trust_remote_code,
                use_safetensors=True,
                **config_overrides,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RecipeError(f"model '{origin.path}' cannot be loaded: {_first_line(error)}") from None
    if origin.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, origin.adapter).merge_and_unload()
    own_memory(model)
    return model


def _require_local_model(path: str) -> None:
    folder = Path(path)
    if folder.is_dir() and not (folder / "config.json").exists():
        raise RecipeError(f"model '{path}': the directory has no config.json; give one written by save_pretrained")
    if looks_local(path) and not folder.exists():
        raise RecipeError(f"model '{path}': no such directory")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for every file of a small model."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def build_model(recipe: Recipe, context: LoadContext) -> "PreTrainedModel":
    """The recipe's model on CPU, ready to train or to be looked at, adapters added.

    Raises DataError if the tokenizer has ids that the model does not know, NotCausalError if it sees later tokens.
    """
    model = recipe.model.load(context)
    vocab = shape_of(model).vocabulary
    if len(context.tokenizer) > vocab:
        raise DataError(
            f"the tokenizer has {len(context.tokenizer)} ids and the model's vocabulary only {vocab}: "
            f"leave out `tokenizer` to use the model's own"
        )
    align_special_tokens(model, context.tokenizer)
    BodyAndHead(model)  # refuses what is not causal, before anything is trained
    if recipe.train is not None and recipe.train.lora is not None:
        model = add_lora(model, recipe.train.lora, context.seed)
    return model.double() if recipe.train is not None and recipe.train.weights == "float64" else model


def align_special_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast") -> None:
    """Make configuration and generation configuration name the tokenizer's special tokens.

    A configuration made from scratch carries default ids that are ordinary tokens in a tokenizer trained here; greedy
    decoding would stop at them.
    """
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(tokenizer, name)
        for config in (model.config, model.generation_config):
            if config is not None and hasattr(config, name):
                setattr(config, name, value)


def add_lora(model: "PreTrainedModel", lora: Lora, seed: int) -> "PreTrainedModel":
    """Wrap the model with LoRA adapters; only they stay trainable."""
    import torch
    from peft import LoraConfig, get_peft_model

    from ontogeny.core.seeds import derive_seed

    torch.manual_seed(derive_seed(seed, "lora"))
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) if lora.targets else "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        adapted: PreTrainedModel = get_peft_model(model, config)  # type: ignore[assignment] # it stands for its base
        return adapted
    except ValueError as error:
        raise RecipeError(f"train.lora.targets: {_first_line(error)}") from None


def is_adapter(model: "PreTrainedModel") -> bool:
    """Is this a model with LoRA adapters?"""
    return hasattr(model, "peft_config")


def save_model(model: "PreTrainedModel", folder: Path) -> None:
    """Write safetensors with save_pretrained; of a model with adapters, the adapters only."""
    with _no_progress_bars():
        model.save_pretrained(str(folder), safe_serialization=True)
    if is_adapter(model):
        _forget_origin(folder)


def _forget_origin(folder: Path) -> None:
    """Keep out of a run where the base was loaded from: the run is movable, and the same after every resume."""
    config = folder / "adapter_config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(
        json.dumps({**content, "base_model_name_or_path": None}, indent=2, sort_keys=True), encoding="utf-8"
    )
    (folder / "README.md").unlink(missing_ok=True)


def load_checkpoint(model_path: Path, base_path: Path, *, trainable: bool = False) -> "PreTrainedModel":
    """Load a checkpoint of ours as it was live: with its adapters on top of the base, unmerged."""
    if not (model_path / "adapter_config.json").exists():
        return load_causal_lm(Origin(path=str(model_path)), as_saved=True)
    from peft import PeftModel

    base = load_causal_lm(Origin(path=str(base_path)), as_saved=True)
    adapted: PreTrainedModel = PeftModel.from_pretrained(base, str(model_path), is_trainable=trainable)  # type: ignore[assignment]
    return adapted
