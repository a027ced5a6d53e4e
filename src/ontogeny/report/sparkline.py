"""A curve in one line of text, or in a small picture without scripts."""

import numpy as np

from ontogeny.store.history import Series

BARS = "▁▂▃▄▅▆▇█"
GAP = "·"
"""Stands for values that are not finite."""


def sparkline(series: Series, width: int = 40) -> str:
    """The series in at most `width` characters: medians of equal stretches, from its lowest to its highest.

    The scale is cut at the 2% and 98% quantiles, so that one spike does not flatten the rest.
    """
    parts = np.array_split(series.values, min(width, len(series)))
    medians = [float(np.median(part[np.isfinite(part)])) if np.isfinite(part).any() else np.nan for part in parts]
    finite = np.array([median for median in medians if np.isfinite(median)])
    if not len(finite):
        return GAP * len(parts)
    low, high = np.quantile(finite, [0.02, 0.98])
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        BARS[round(min(max((median - low) * scale, 0), 7))] if np.isfinite(median) else GAP for median in medians
    )


def marks(series: Series, steps: tuple[int, ...], width: int = 40) -> str:
    """A line below a sparkline: `^` where these steps are."""
    cells = min(width, len(series))
    line = [" "] * cells
    edges = np.cumsum([len(part) for part in np.array_split(series.values, cells)])
    for step in steps:
        index = int(np.searchsorted(series.steps, step))
        if index < len(series):
            line[int(np.searchsorted(edges, index, side="right"))] = "^"
    return "".join(line).rstrip()


WIDTH, HEIGHT = 560, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 22
_MOST = 400


def thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of at most 400 points: the lowest and highest of equal stretches, so that spikes stay."""
    clean = series.clean()
    if len(clean) <= _MOST:
        return clean.steps, clean.values
    chosen: list[int] = []
    for part in np.array_split(np.arange(len(clean)), _MOST // 2):
        values = clean.values[part]
        chosen += sorted({int(part[values.argmin()]), int(part[values.argmax()])})
    return clean.steps[chosen], clean.values[chosen]


def svg(series: Series, marked: tuple[int, ...] = ()) -> str:
    """The series as an SVG element with axes; evidence at the steps `marked` stands out. Colours come from the page."""
    steps, values = thinned(series)
    if not len(steps):
        return ""
    low, high = float(values.min()), float(values.max())
    if len(values) > 20:  # a steep start may leave the picture, so that the rest can be read
        high = min(high, float(np.quantile(values, 0.99)) * 1.5 + 1e-12) if low >= 0 else high
    high = high if high > low else low + max(abs(low), 1.0) * 0.1
    first, last = int(series.steps[0]), max(int(series.steps[-1]), int(series.steps[0]) + 1)

    def x(step: float) -> float:
        return _LEFT + (step - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (1 - (min(max(value, low), high) - low) / (high - low)) * (HEIGHT - _TOP - _BOTTOM)

    line = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps.tolist(), values.tolist(), strict=True))
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" preserveAspectRatio="xMidYMid meet">']
    for value in (low, (low + high) / 2, high):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for step, anchor in ((first, "start"), (last, "end")):
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{step:,}</text>')
    parts.append(f'<polyline points="{line}"/>')
    clean = series.clean()
    for step in marked:
        index = int(np.searchsorted(clean.steps, step))
        if index < len(clean) and clean.steps[index] == step:
            parts.append(f'<circle cx="{x(step):.1f}" cy="{y(float(clean.values[index])):.1f}" r="4"/>')
        else:
            parts.append(
                f'<line class="mark" x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            )
    return "".join([*parts, "</svg>"])
