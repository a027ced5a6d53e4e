"""What a recipe's training starts from: texts, model, companions. The one way to get them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import StoreError
from ontogeny.core.model_sources import ModelSource
from ontogeny.core.origin import Origin
from ontogeny.core.passages import side_widths
from ontogeny.core.recipe import Recipe
from ontogeny.core.seeds import derive_seed
from ontogeny.data.bos import FROM_SCRATCH, Trained, recorded
from ontogeny.data.prepare import Prepared, prepare
from ontogeny.data.tokenizer import load_tokenizer
from ontogeny.models.build import Limits, LoadContext, align_special_tokens, build_model, read_limits
from ontogeny.models.checkpoints import origin_of_checkpoint
from ontogeny.models.companions import Companion, freeze
from ontogeny.objectives.compose import Anchors
from ontogeny.runs.example_difficulty import example_nll
from ontogeny.runs.generated_corpora import Author, author_of, write_corpora
from ontogeny.runs.parents import Missing, StandIn, check_held_out, origin_of
from ontogeny.store.cached_targets import TargetShard
from ontogeny.store.run import Run, open_run
from ontogeny.store.schema import PROVENANCE
from ontogeny.train.session import Session, check_sides, open_session, to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Tell = Callable[[str], None]
Companions = dict[str, Companion]


@dataclass(frozen=True, kw_only=True)
class Materials:
    """All that a training is put together from, before its first step or at a checkpoint."""

    recipe: Recipe
    prepared: Prepared
    model: "PreTrainedModel"
    origin: Origin | None
    """Where the model existed before; None if it was made from scratch, or stands in for one that is missing."""
    companions: Companions
    targets: Mapping[str, TargetShard] = field(default_factory=dict)
    """By companion: what steps read from a cache in its place (`runs.cached_targets`)."""


def gather(
    recipe: Recipe, runs_dir: Path, missing: Missing, tell: Tell = lambda text: None, begun: Path | None = None
) -> Materials:
    """Read the texts, build or load the model and its companions.

    `missing`: what is done about a parent recipe without a finished run below `runs_dir`; `begun`: the run, if there is
    one already. Raises RecipeError, DataError or StoreError, a line each.
    """
    source = origin_of(recipe.model, runs_dir, missing)
    origin = source if isinstance(source, Origin) else None
    if origin is not None and origin.parent is not None:
        check_held_out(recipe, origin.parent)
    tokenizer, limits = _given(recipe, source)
    generated = write_corpora(recipe, _author(source), tell, begun)
    trained = _trained(source) if begun is None else recorded(open_run(begun).provenance["data"])
    prepared = prepare(recipe, tokenizer, limits.vocab_size, limits.context_length, tell, generated, trained)
    tell("building the model")
    model = (
        source.model if isinstance(source, StandIn) else build_model(recipe, _load_context(recipe, prepared, origin))
    )
    companions = open_companions(recipe, prepared.tokenizer, runs_dir, missing, tell)
    return Materials(recipe=recipe, prepared=prepared, model=model, origin=origin, companions=companions)


def open_companions(
    recipe: Recipe,
    tokenizer: "PreTrainedTokenizerFast",
    runs_dir: Path,
    missing: Missing,
    tell: Tell = lambda text: None,
    begun: Run | None = None,
) -> Companions:
    """Load the frozen models that a recipe's loss terms read, on the device where training computes.

    `begun`: the run that is opened again; a companion is then taken from where it was, if it still is there.
    """
    companions = {}
    for name, source in recipe.companions.items():
        tell(f"loading the companion {name}")
        recorded = _recorded_origin(begun, name, runs_dir) if begun else None
        origin = recorded or origin_of(source, runs_dir, missing)
        if begun is None and isinstance(origin, Origin) and origin.parent is not None:
            check_held_out(recipe, origin.parent)
        described: Mapping[str, object] = {}
        if isinstance(origin, StandIn):
            model, own = origin.model, origin.tokenizer
        else:
            model, own, described = _load_companion(recipe, name, source, origin, tokenizer)
        if recipe.train is not None and recipe.train.weights == "float64":
            model.double()
        companions[name] = freeze(name, to_device(model), own, tokenizer, described)
    return companions


def _load_companion(
    recipe: Recipe, name: str, source: ModelSource, origin: Origin | None, tokenizer: "PreTrainedTokenizerFast"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast, Mapping[str, object]]":
    """A companion that exists, or is made from scratch; its tokenizer, and what the provenance says of it."""
    own = load_tokenizer(origin.tokenizer or origin.path, origin.revision) if origin else tokenizer
    context = LoadContext(
        tokenizer=own,
        length=recipe.longest,
        seed=derive_seed(recipe.train.seed if recipe.train else 0, "companion", name),
        dropout=0.0,
        origin=origin,
    )
    model = source.load(context)
    align_special_tokens(model, own)
    return model, own, _described(origin)


def open_training(materials: Materials, run: Path, anchors: Anchors, total_steps: int | None = None) -> Session:
    """A session at step 0 (or wherever its state is restored to). `run`: where what orders ask of the model is kept."""
    recipe, prepared = materials.recipe, materials.prepared
    check_companions(materials)
    session = open_session(
        recipe,
        model=materials.model,
        tokenizer=prepared.tokenizer,
        examples=prepared.examples,
        replay=prepared.replay,
        nll=example_nll(recipe, run, to_device(materials.model), prepared, materials.companions),
        anchors=anchors,
        companions=materials.companions,
        targets=materials.targets,
        total_steps=total_steps,
    )
    for name, probe in prepared.probes.items():
        check_sides(side_widths(probe.passages), session.model, session.objective, f"data.probes.{name}")
    return session


def check_companions(materials: Materials) -> None:
    """Raise DataError if a companion cannot read the passages that are trained on or looked at."""
    prepared = materials.prepared
    sets = [prepared.examples, *(probe.passages for probe in prepared.probes.values())]
    for companion in materials.companions.values():
        for passages in filter(None, sets):
            companion.check(passages, len(prepared.tokenizer))


_OF_A_COMPANION = {"weights_sha256": "weights", "config_sha256": "configuration", "tokenizer_sha256": "tokenizer"}


def require_same_companions(run: Run, companions: Companions) -> None:
    """Raise StoreError if a companion is not the one that the run began with."""
    recorded = run.provenance.get("companions", {})
    for name, companion in companions.items():
        began_with = recorded.get(name, {})
        for key, what in _OF_A_COMPANION.items():
            before, now = began_with.get(key), companion.described[key]
            if before != now and (key in began_with or key != "config_sha256"):  # which was not always recorded
                raise StoreError(
                    f"{run.path}: the companion '{name}' has another {what} than when the run began (fingerprint "
                    f"{now[:12]}, was {str(before)[:12]}): bring the old one back, or start a new run"
                )


def refuse_missing(parent: Recipe) -> Path:
    """For runs that are opened again: a companion whose run is gone is not trained anew. Raises StoreError."""
    raise StoreError(
        f"a companion comes from the recipe '{parent.name}', whose run is not beside this one: bring it back, or train "
        f"it again with  ontogeny run {parent.name}"
    )


def _given(recipe: Recipe, source: Origin | StandIn | None) -> "tuple[PreTrainedTokenizerFast | None, Limits]":
    """The tokenizer and the limits that an existing model brings."""
    if isinstance(source, StandIn):
        return source.tokenizer, Limits()
    if source is None:
        return None, Limits()
    own = recipe.tokenizer.path is None and recipe.tokenizer.vocab_size is None
    tokenizer = load_tokenizer(source.tokenizer or source.path, source.revision) if own else None
    return tokenizer, read_limits(source)


def _trained(source: Origin | StandIn | None) -> Trained:
    """What stood before the texts that an existing model was trained on."""
    if isinstance(source, StandIn):
        return source.bos
    if source is None:
        return FROM_SCRATCH
    return "pretrained" if source.parent is None else recorded(source.parent)


def _recorded_origin(begun: Run, name: str, runs_dir: Path) -> Origin | None:
    """The checkpoint that a companion was taken from, where its run still lies beside this one."""
    parent = begun.provenance.get("companions", {}).get(name, {}).get("parent")
    folder = runs_dir / parent["run"] if parent else None
    if folder is None or not (folder / PROVENANCE).exists():
        return None
    try:
        return origin_of_checkpoint(open_run(folder), parent["step"])
    except StoreError:
        return None


def _author(source: Origin | StandIn | None) -> Callable[[], Author] | None:
    """The model that writes corpora, loaded when one has to be written; None if training starts from scratch."""
    match source:
        case None:
            return None
        case StandIn():
            return lambda: (source.model, source.tokenizer, source.bos.token_ids)
        case Origin():
            return lambda: author_of(source)


def _load_context(recipe: Recipe, prepared: Prepared, origin: Origin | None) -> LoadContext:
    train = recipe.train
    return LoadContext(
        tokenizer=prepared.tokenizer,
        length=recipe.longest,
        seed=train.seed if train else 0,
        dropout=train.dropout if train else None,
        origin=origin,
    )


def _described(origin: Origin | None) -> dict[str, object]:
    """Where a companion came from, without absolute paths of a run: the run directory is movable."""
    if origin is None:
        return {"origin": "from scratch"}
    if origin.parent is not None:
        return {"parent": {key: value for key, value in origin.parent.items() if key != "data"}}
    return {"path": origin.path, "revision": origin.revision}
