"""What a figure is, and where figures come from."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ontogeny.core.kinds import kinds_of
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from ontogeny.store.run import Run

ROOM = "ontogeny.report.figures"

Section = Literal[
    "reader", "curves", "memorization", "forgetting", "dynamics", "tasks", "weights", "generation", "time", "more"
]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the page.

    `chart` is an Altair chart without colours and without a width of its own (the theme gives both), or several of
    them by title, which then stand side by side.
    """

    title: str
    caption: str
    """What is drawn, its unit, what intervals mean and how many things they rest on."""
    chart: Any
    section: Section
    order: float = 50
    """Place within the section: low comes first."""
    metrics: tuple[str, ...] = field(default=())
    """Names of the metrics that it draws or makes redundant; all others get a small chart each under `more`."""

    @property
    def panels(self) -> Mapping[str, Any]:
        """The charts by title; a single chart has an empty one."""
        return self.chart if isinstance(self.chart, Mapping) else {"": self.chart}


Draw = Callable[[RunGroup], Figure | None]


def discover() -> Iterator[tuple[str, Draw]]:
    """Every public function of every module under `report/figures`, and of third parties' modules, by name.

    Third parties register a module under the entry-point group `ontogeny.report.figures`.
    """
    foreign = {point.name: point.value for point in entry_points(group=ROOM)}
    for topic in kinds_of(ROOM):
        module = importlib.import_module(foreign.get(topic, f"{ROOM}.{topic}"))
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{topic}-{name}".replace("_", "-"), function


def draw_all(runs: RunGroup) -> dict[str, Figure]:
    """All figures that these runs have data for, in the order of the page within each section."""
    drawn = {name: figure for name, draw in discover() if (figure := draw(runs)) is not None}
    return dict(sorted(drawn.items(), key=lambda item: (item[1].order, item[0])))


def figures(*runs: "Run | Path | str") -> dict[str, Figure]:
    """All figures of one or several runs, as Altair charts to restyle and save: ``ontogeny.figures("runs/a")``.

    ``figures(run)["dynamics-heat"].panels`` are charts by title; ``chart.configure_axis(grid=False)`` restyles one,
    ``chart.save("heat.pdf")`` writes it (PDF, SVG, PNG, HTML, JSON, by the end of the name). Raises StoreError for a
    folder that holds no run.
    """
    from ontogeny.store.run import open_run

    return draw_all(RunGroup([open_run(Path(one)) if isinstance(one, str | Path) else one for one in runs]))
