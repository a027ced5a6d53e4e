"""Colours and type of charts, for the page (as CSS variables, so that light, dark and print need no redrawing) and
for picture files (as fixed light colours).

Categories follow Okabe and Ito's colour-blind safe set, darkened on light and lightened on dark ground until each has
a contrast of at least 3:1.
"""

import json
import re
from typing import Any

VegaConfig = dict[str, Any]
"""A configuration of Vega-Lite, which is JSON."""

LIGHT = {
    "paper": "#fbfaf7",
    "panel": "#ffffff",
    "ink": "#1f1e1b",
    "soft": "#5d5a52",
    "line": "#dcd8cd",
    "grid": "#ebe8df",
    "c1": "#0072b2",
    "c2": "#c65500",
    "c3": "#00805f",
    "c4": "#a8578a",
    "c5": "#7a6a00",
    "c6": "#3d8fc4",
    "c7": "#6c5bb5",
    "c8": "#55534c",
    "heat": "217 72 38",
    "cool": "0 114 178",
}
DARK = {
    "paper": "#16181b",
    "panel": "#1d2024",
    "ink": "#e9e6df",
    "soft": "#a8a59c",
    "line": "#363a40",
    "grid": "#2a2d32",
    "c1": "#5db5ee",
    "c2": "#ff9352",
    "c3": "#3cc79d",
    "c4": "#e59bc8",
    "c5": "#e0c54a",
    "c6": "#9ad2f7",
    "c7": "#b0a2f2",
    "c8": "#c4c1b8",
    "heat": "190 60 30",
    "cool": "38 118 190",
}
CATEGORIES = tuple(f"c{i}" for i in range(1, 9))


def chart_config() -> VegaConfig:
    """Vega-Lite configuration whose colours are CSS variables."""
    ink, soft, grid, line = (f"var(--{name})" for name in ("ink", "soft", "grid", "line"))
    sans = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
    text = {"labelColor": soft, "titleColor": soft, "labelFont": sans, "titleFont": sans, "titleFontWeight": "normal"}
    return {
        "background": "transparent",
        "font": sans,
        "view": {"stroke": None},
        "axis": {**text, "labelFontSize": 11, "titleFontSize": 12, "gridColor": grid, "domainColor": line}
        | {"tickColor": line, "labelLimit": 140, "titlePadding": 8},
        "axisX": {"grid": False},
        "axisY": {"domain": False, "ticks": False, "tickCount": 5, "titleAlign": "left", "titleAngle": 0}
        | {"titleX": 0, "titleY": -10, "titleBaseline": "bottom"},
        "legend": {
            **text,
            "orient": "top",
            "labelFontSize": 12,
            "labelColor": ink,
            "title": None,
            "offset": 30,
            "symbolOpacity": 1,
        }
        | {"symbolStrokeWidth": 2.5, "columnPadding": 18, "labelLimit": 260},
        "line": {"strokeWidth": 2, "strokeJoin": "round"},
        "point": {"filled": True, "size": 26, "opacity": 1},
        "area": {"opacity": 0.16, "line": False},
        "rule": {"color": soft},
        "bar": {"cornerRadiusEnd": 2},
        "text": {"color": ink, "font": sans, "fontSize": 11},
        "range": {"category": [f"var(--{name})" for name in CATEGORIES], "heatmap": {"scheme": "viridis"}},
    }


def fixed(config: VegaConfig, colours: dict[str, str]) -> VegaConfig:
    """The same configuration with every CSS variable replaced by its colour."""
    return json.loads(re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match[1]], json.dumps(config)))


def css_variables(colours: dict[str, str]) -> str:
    """Declarations for a style sheet."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
