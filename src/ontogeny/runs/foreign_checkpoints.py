"""A run made of checkpoints that somebody else trained: local directories, or revisions on a hub."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import StoreError, closest
from ontogeny.core.origin import Origin
from ontogeny.core.progress import Place, Progress
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import dump_recipe
from ontogeny.data.prepare import prepare
from ontogeny.data.tokenizer import load_tokenizer, looks_local
from ontogeny.looking.observer import LookEvent, Observer
from ontogeny.looking.weights_history import WeightsHistory
from ontogeny.models.build import align_special_tokens, load_causal_lm, read_limits
from ontogeny.models.weights import effective_weights, fingerprint
from ontogeny.objectives.compose import Objective
from ontogeny.runs.backfill import observer_for
from ontogeny.runs.provenance import describe
from ontogeny.runs.status import keep_status
from ontogeny.store import durable
from ontogeny.store.schema import TOKENIZER_FOLDER
from ontogeny.store.writer import RunWriter
from ontogeny.train.session import to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Station:
    """One foreign checkpoint: its step, what it is called, where it is."""

    step: int
    name: str
    origin: Origin


def parse_stations(specs: Sequence[str]) -> list[Station]:
    """Read ``DIR_OR_HUB_ID@step1,step2,…`` or plain directories into stations, sorted by step.

    Below a local directory the names after @ are sub-directories, on a hub they are revisions. The step is the last
    number in a name. Raises StoreError for a name without a number, a step that stands twice, or a sub-directory that
    is not there.
    """
    stations: list[Station] = []
    for spec in specs:
        base, at, names = spec.partition("@")
        if not at:
            stations.append(_station(Path(base).name, Origin(path=base)))
            continue
        for name in filter(None, names.split(",")):
            stations.append(_station(name, _below(base, name)))
    stations.sort(key=lambda station: station.step)
    for left, right in itertools.pairwise(stations):
        if left.step == right.step:
            raise StoreError(f"'{left.name}' and '{right.name}' are both step {left.step}: name each step once")
    if not stations:
        raise StoreError(
            "--checkpoints needs at least one directory or hub id, such as  ./out@checkpoint-100,checkpoint-200"
        )
    return stations


def _below(base: str, name: str) -> Origin:
    """A sub-directory of a local directory, or a revision on a hub."""
    folder = Path(base)
    if not looks_local(base) and not folder.is_dir():
        return Origin(path=base, revision=name)
    if not (folder / name).is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        missing = f"'{base}' has no sub-directory" if folder.is_dir() else f"'{base}' is no directory"
        what = closest(name, there) if there else missing
        raise StoreError(f"--checkpoints {base}@{name}: no such checkpoint directory: {what}")
    return Origin(path=str(folder / name))


def _station(name: str, origin: Origin) -> Station:
    digits = re.findall(r"\d+", name)
    if not digits:
        raise StoreError(f"checkpoint '{name}': its name holds no step; name it like checkpoint-100")
    return Station(step=int(digits[-1]), name=name, origin=origin)


def measure_series(
    recipe: Recipe, stations: Sequence[Station], *, to: Path, listen: Callable[[LookEvent], None] = lambda looked: None
) -> Path:
    """Let the recipe's measures look at foreign checkpoints; return the run directory that holds what they saw.

    The weights stay where they are; each is fingerprinted. Raises StoreError, with both names, if two stations hold
    identical weights: such a history is not what its step names say.
    """
    first = stations[0].origin
    limits = read_limits(first)
    tokenizer = load_tokenizer(first.tokenizer or first.path, first.revision)
    prepared = prepare(recipe, tokenizer, limits.vocab_size, limits.context_length, trained="pretrained")
    model = load_causal_lm(first)
    provenance = describe(recipe, prepared.provenance, model)
    provenance["stations"] = [
        {"step": s.step, "name": s.name, "path": s.origin.path, "revision": s.origin.revision} for s in stations
    ]
    seen: dict[str, str] = {}
    with RunWriter.create(
        to, recipe_yaml=dump_recipe(recipe), recipe=recipe.as_json(), provenance=provenance
    ) as writer:
        with durable.filling(to / TOKENIZER_FOLDER):
            tokenizer.save_pretrained(str(to / TOKENIZER_FOLDER))
        writer.list_files(TOKENIZER_FOLDER)
        for probe in prepared.probes.values():
            writer.put_probes(probe)
        due = {m.group: frozenset(s.step for s in stations) for m in recipe.measures}
        origins = {station.step: station.origin for station in stations}
        weights = WeightsHistory(lambda: list(origins), lambda step: effective_weights(load_causal_lm(origins[step])))
        observer = observer_for(writer, recipe.measures, tokenizer, Objective(recipe.objective), recipe, due, weights)
        with keep_status(writer):
            for station in stations:
                model = to_device(load_causal_lm(station.origin))
                align_special_tokens(model, tokenizer)
                listen(_look(observer, weights, model, station, seen, stations[-1].step))
                writer.set_status(step=station.step, total_steps=stations[-1].step)
    return to


def _look(
    observer: Observer,
    weights: WeightsHistory,
    model: "PreTrainedModel",
    station: Station,
    seen: dict[str, str],
    last: int,
) -> LookEvent:
    effective = effective_weights(model)
    digest = fingerprint(effective)
    if digest in seen:
        raise StoreError(
            f"'{seen[digest]}' and '{station.name}' hold identical weights ({digest[:12]}): one of them is not "
            f"the step that its name says; leave it out"
        )
    seen[digest] = station.name
    nan = float("nan")
    place = Place(step=station.step, epoch=nan, tokens_seen=-1, flops=nan, flops_counted=nan, weights_sha256=digest)
    looked: LookEvent = observer.look(model, place, Progress(step=station.step, total_steps=last, epoch=nan))
    weights.keep(station.step, effective)
    return looked
