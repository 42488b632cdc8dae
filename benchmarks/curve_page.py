"""Charts of two systems over the settings of a knob, with bands for their intervals, on one HTML page.

A point is `{"setting", "text": {"naive": {"value", "low", "high"}, "joint": {...}}, "visual": {...}}`, scores in
[0, 1]; a modality may be absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmel.report.html import Html, element, joined

Points = Sequence[Mapping[str, Any]]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 440, 260, 48, 52, 34, 44
_LABEL = 14  # height of a line of text
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #16181d; --muted: #5b6270; --line: #d9dce1;
  --joint: #1f66c1; --naive: #8a5300; }
@media (prefers-color-scheme: dark) { :root { --page: #16181d; --ink: #eceef1; --muted: #a3abb8; --line: #363b44;
  --joint: #6aa9f7; --naive: #f0b866; } }
body { margin: 0 auto; padding: 20px; max-width: 1000px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.2; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); gap: 20px; }
svg { width: 100%; height: auto; }
text { fill: var(--muted); font-size: 12px; }
.heading { fill: var(--ink); font-size: 14px; font-weight: 600; }
.level { stroke: var(--line); }
.naive { --own: var(--naive); }
.joint { --own: var(--joint); }
polyline { fill: none; stroke: var(--own); stroke-width: 2; stroke-linejoin: round; }
.naive polyline { stroke-dasharray: 5 4; }
polygon { fill: var(--own); opacity: .15; }
circle { fill: var(--own); }
g > text { fill: var(--own); font-weight: 600; }
pre { overflow-x: auto; font-size: 12px; white-space: pre-wrap; }
"""


def curve_page(curves: Mapping[str, Points], notes: Sequence[str]) -> str:
    """A page with a chart for each knob, by its label, and modality; a modality absent at a setting has none."""
    charts = [
        chart(label, modality, points)
        for label, points in curves.items()
        for modality in ("text", "visual")
        if all(modality in at for at in points)
    ]
    title = "Naive and joint linking as the film world gets harder"
    head = element("head", element("meta", charset="utf-8"), element("title", title), element("style", Html(_STYLE)))
    body = [element("h1", title), element("div", charts, class_="charts"), [element("pre", note) for note in notes]]
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n<body>\n{joined(body)}\n</body>\n</html>\n'


@dataclass(frozen=True)
class _Axes:
    """Where settings and scores lie in the picture."""

    first: float
    last: float
    low: float
    high: float

    @classmethod
    def around(cls, points: Points, modality: str) -> _Axes:
        """Axes that hold every interval. They span whole fifths, for round levels; less would make much of little."""
        ends = [at[modality][system] for at in points for system in ("naive", "joint")]
        high = math.ceil(20 * max(end["high"] for end in ends) - 1e-9) / 20
        low = math.floor(20 * min(end["low"] for end in ends) + 1e-9) / 20
        span = max(1, math.ceil(5 * (high - low) - 1e-9)) / 5
        low = max(0.0, high - span)
        return cls(points[0]["setting"], points[-1]["setting"], low, low + span)

    def x(self, setting: float) -> float:
        share = (setting - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * share, 1)

    def y(self, score: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (score - self.low) / (self.high - self.low), 1)


def chart(label: str, modality: str, points: Points) -> Html:
    """Both systems' scores of a modality over the settings as inline SVG, said in words for those who do not see it."""
    axes = _Axes.around(points, modality)
    said = [
        f"{at['setting']:g}: naive {at[modality]['naive']['value']:.1%}, joint {at[modality]['joint']['value']:.1%}"
        for at in points
    ]
    levels = [axes.low + (axes.high - axes.low) * i / 4 for i in range(5)]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    heights = {system: axes.y(points[-1][modality][system]["value"]) for system in ("naive", "joint")}
    return element(
        "svg",
        element("title", f"{modality}: naive and joint over {label}"),
        element("desc", "; ".join(said)),
        element("text", f"{modality}, micro-F1 in the knowledge base", x=10, y=18, class_="heading"),
        [_level(axes, level) for level in levels],
        [_text(f"{at['setting']:g}", axes.x(at["setting"]), _HEIGHT - _BOTTOM + 18, "middle") for at in points],
        _text(label, middle, _HEIGHT - 6, "middle"),
        [_curve(axes, system, modality, points, height) for system, height in _apart(heights).items()],
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
    )


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Heights of the two names, moved apart by a line of text where the curves end closer together."""
    (upper, y0), (lower, y1) = sorted(heights.items(), key=lambda item: item[1])
    missing = max(0.0, _LABEL - (y1 - y0)) / 2
    return {upper: y0 - missing, lower: y1 + missing}


def _curve(axes: _Axes, system: str, modality: str, points: Points, height: float) -> Html:
    scores = [at[modality][system] for at in points]
    xs = [axes.x(at["setting"]) for at in points]
    line, low, high = (
        [(x, axes.y(s[key])) for x, s in zip(xs, scores, strict=True)] for key in ("value", "low", "high")
    )
    dots = [
        element("circle", element("title", f"{system} {score['value']:.1%}"), cx=x, cy=y, r=3.5)
        for (x, y), score in zip(line, scores, strict=True)
    ]
    band = element("polygon", points=_places([*high, *reversed(low)]))
    name = _text(system, xs[-1] + 8, height + 4, "start")
    return element("g", band, element("polyline", points=_places(line)), dots, name, class_=system)


def _level(axes: _Axes, score: float) -> Html:
    y = axes.y(score)
    line = element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="level")
    return Html(line + _text(f"{score:.0%}", _LEFT - 8, y + 4, "end"))


def _text(text: str, x: float, y: float, anchor: str) -> Html:
    return element("text", text, x=x, y=y, text_anchor=anchor)


def _places(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
