"""What a figure is, and where figures come from."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.kinds import kinds_of, module_of
from ontogeny.report.section import ROOM as SECTIONS
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from altair.typing import ChartType

    from ontogeny.store.run import Run

ROOM = "ontogeny.report.figures"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the page.

    `chart` is an Altair chart without colours and without a width (the theme gives both), or several by title, which
    stand side by side.
    """

    title: str
    caption: str
    """What is drawn, its unit, what intervals mean and how many items they rest on."""
    chart: "ChartType | Mapping[str, ChartType]"
    section: str
    """Id of its section: the name of a module under `report/sections`."""
    order: float = 50
    """Place within the section: low comes first."""
    metrics: tuple[str, ...] = ()
    """Metrics (<kind>/<variable>) that it draws or makes redundant; all others get a small chart each under `more`."""

    @property
    def panels(self) -> "Mapping[str, ChartType]":
        """The charts by title; a single chart has an empty one."""
        return self.chart if isinstance(self.chart, Mapping) else {"": self.chart}


Draw = Callable[[RunGroup], Figure | None]


def discover() -> Iterator[tuple[str, Draw]]:
    """Every public function of the modules under report/figures and report/sections, by <module>-<function>.

    Third parties register modules of their own under `ontogeny.report.figures` or `ontogeny.report.sections`.
    """
    for room in (ROOM, SECTIONS):
        for name in kinds_of(room):
            module = module_of(room, name)
            for function_name, function in inspect.getmembers(module, inspect.isfunction):
                if function.__module__ == module.__name__ and not function_name.startswith("_"):
                    yield f"{name}-{function_name}".replace("_", "-"), function


def draw_all(runs: RunGroup) -> dict[str, Figure]:
    """All figures that these runs have data for, by order within their section, then by name."""
    drawn = {name: figure for name, draw in discover() if (figure := draw(runs)) is not None}
    return dict(sorted(drawn.items(), key=lambda item: (item[1].order, item[0])))


def figures(*runs: "Run | Path | str") -> dict[str, Figure]:
    """All figures of one or several runs, as Altair charts to restyle and save: ``ontogeny.figures("runs/a")``.

    ``figures(run)["dynamics-heat"].panels`` are charts by title; ``chart.configure_axis(grid=False)`` restyles one,
    ``chart.save("heat.pdf")`` writes it (PDF, SVG, PNG or HTML, by the file's ending). Raises StoreError for a folder
    that holds no run.
    """
    from ontogeny.store.run import open_run

    return draw_all(RunGroup([open_run(Path(run)) if isinstance(run, str | Path) else run for run in runs]))
