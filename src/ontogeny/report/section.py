"""What a section of the page is, and where sections come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ontogeny.core.kinds import kinds_of, module_of
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from markupsafe import Markup

ROOM = "ontogeny.report.sections"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A measure that a section shows."""

    measure: str
    """Its kind."""
    otherwise: str
    """What the page says where no run recorded it, followed by the command that adds it."""


@dataclass(frozen=True, kw_only=True)
class SectionContent:
    """What a section shows above its figures."""

    html: "Markup"
    """Made with `rendering.render_template`, or with `markupsafe.Markup.format`: both escape what comes from a run."""
    data: Mapping[str, object] = field(default_factory=dict)
    """JSON values for its scripts, which read `pageData.<key>`."""
    scripts: tuple[str, ...] = ()
    """JavaScript files under report/templates. They are loaded only where the section has content."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page: `SECTION` in a module under report/sections, whose name is the section's id and anchor.

    It also shows the figures that name it, which are functions under report/figures or beside it in its own module.
    A section without content, figures and missing measures is left out.
    """

    title: str
    order: float
    """Place on the page: low comes first."""
    lead: str = ""
    """A sentence below the title, shown with content or figures."""
    needs: tuple[Recorded, ...] = ()
    content: Callable[[RunGroup], SectionContent | None] | None = None
    """None where these runs have nothing to show."""


def all_sections() -> dict[str, Section]:
    """Sections by id, in the order of the page.

    Third parties register modules of their own under the entry-point group `ontogeny.report.sections`. Raises
    TypeError for a module that defines no `SECTION`.
    """
    sections: dict[str, Section] = {}
    for name in kinds_of(ROOM):
        module = module_of(ROOM, name)
        section = getattr(module, "SECTION", None)
        if not isinstance(section, Section):
            raise TypeError(f"{module.__name__} must define SECTION, a report.section.Section")
        sections[name] = section
    return dict(sorted(sections.items(), key=lambda item: (item[1].order, item[0])))
