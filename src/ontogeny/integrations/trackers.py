"""Mirror the scalars of our own runs to TensorBoard, W&B or trackio, through Accelerate's trackers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ontogeny.core.errors import MissingExtraError, OntogenyError, closest
from ontogeny.core.progress import StepEvent
from ontogeny.core.recipe import Recipe
from ontogeny.looking.observer import LookEvent
from ontogeny.train.training import Event, Listener

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker


@contextmanager
def mirrored(listen: Listener, names: Sequence[str], recipe: Recipe, folder: str = "tracking") -> Iterator[Listener]:
    """A listener that passes every event on and sends its scalars to the named trackers.

    Training scalars are named `train/<name>`, those of measures `<probe>/<measure>/<variable>`. Raises OntogenyError
    for an unknown tracker, MissingExtraError for one that is not installed.
    """
    trackers = [_start(name, recipe, folder) for name in names]

    def listen_and_mirror(event: Event) -> None:
        listen(event)
        values, step = _scalars(event)
        if values:
            for tracker in trackers:
                tracker.log(values, step=step)

    try:
        yield listen_and_mirror
    finally:
        for tracker in trackers:
            tracker.finish()


def _scalars(event: Event) -> tuple[dict[str, float], int | None]:
    match event:
        case StepEvent():
            scalars = {"loss": event.loss, "learning_rate": event.learning_rate, "grad_norm": event.grad_norm}
            return {f"train/{name}": value for name, value in scalars.items()}, event.step
        case LookEvent():
            return {f"{scope}/{name}": value for (scope, name), value in event.scalars.items()}, event.step
    return {}, None


def _start(name: str, recipe: Recipe, folder: str) -> "GeneralTracker":
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # trackers read it at construction
    if name not in LOGGER_TYPE_TO_CLASS:
        raise OntogenyError(f"--track {name}: {closest(name, LOGGER_TYPE_TO_CLASS)}")
    cls = LOGGER_TYPE_TO_CLASS[name]
    run_name = f"{recipe.name.replace('/', '-')}-{recipe.recipe_hash[:8]}"
    try:
        tracker = cls(run_name, folder) if cls.requires_logging_directory else cls(run_name)
        tracker.start()
    except ImportError as error:
        raise MissingExtraError(f"--track {name} needs a package that is not installed: {error}") from None
    tracker.store_init_configuration({"recipe_hash": recipe.recipe_hash, "name": recipe.name})
    return tracker
