"""HTML from the templates, styles and scripts under report/templates. What comes from a run or a log is escaped."""

import base64
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.version import __version__
from ontogeny.report.theme import DARK, LIGHT, css_variables

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent / "templates"


def render_template(name: str, **variables: object) -> "Markup":
    """A part of a page."""
    from markupsafe import Markup

    return Markup(_environment().get_template(name).render(**variables))


def render_page(name: str, **variables: object) -> str:
    """A whole page; its template also gets `version`, `css`, and the colours `light` and `dark`."""
    frame = {"version": __version__, "css": static("page.css")}
    colours = {"light": css_variables(LIGHT), "dark": css_variables(DARK)}
    return _environment().get_template(name).render(**frame, **colours, **variables)


@functools.cache
def static(name: str) -> "Markup":
    """A style sheet or script, to stand in a page as it is."""
    from markupsafe import Markup

    return Markup((FOLDER / name).read_text(encoding="utf-8"))


@functools.cache
def vega() -> "Markup":
    """Vega, Vega-Lite and Vega-Embed as one script, bundled once per process (about a second)."""
    import vl_convert
    from markupsafe import Markup

    script = vl_convert.javascript_bundle().replace("</script", "<\\/script")  # type: ignore[call-arg]
    return Markup(f"{{{script}}}")


def inline_json(data: object) -> "Markup":
    """JSON that may stand in a script element: no character of it can end the element; NaN becomes null."""
    from markupsafe import Markup

    text = json.dumps(_without_nan(data), ensure_ascii=False, separators=(",", ":"), default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def policy(styles: Sequence[str], scripts: Sequence[str] = ()) -> "Markup":
    """The content security policy of a page that holds exactly these inline styles and scripts, each by its SHA-256.

    Nothing else runs, styles or loads, whatever text of a log or a model found its way into the page.
    """
    from markupsafe import Markup

    parts = ["default-src 'none'", _allowed("style-src", styles), _allowed("script-src", scripts), "img-src data:"]
    return Markup("; ".join(part for part in parts if part))


def _allowed(directive: str, texts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join([directive, *(f"'sha256-{digest}'" for digest in hashes)]) if texts else ""


@functools.cache
def _environment() -> "Environment":
    import jinja2

    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["policy"] = policy
    return environment
