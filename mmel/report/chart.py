"""Charts as inline SVG, with a title and a description for those who do not see them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmel.evaluation.calibration import Bin, Calibration
from mmel.report.html import Html, element

_WIDTH, _HEIGHT = 440, 260  # small enough that the text stays readable on a phone
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 26, 40, 42
_MARKED = (1, 3, 5, 10, 30, 100, 300, 1000)


def recall_curve(recalls: Sequence[float]) -> Html:
    """R@k over k = 1, 2, ... on a logarithmic scale; the vertical axis begins below R@1, not at zero.

    recalls: `[k]` in [0, 1], at least two, never falling.
    """
    deepest = len(recalls)
    marked = [k for k in _MARKED if k <= deepest]
    if marked[-1] * 2 <= deepest or len(marked) == 1:
        marked.append(deepest)
    low, step = _scale(recalls[0])
    ticks = [low + step * i for i in range(round((1 - low) / step) + 1)]

    def x(k: int) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(k) / math.log(deepest), 1)

    def y(share: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (share - low) / (1 - low), 1)

    line = " ".join(f"{x(k):g},{y(share):g}" for k, share in enumerate(recalls, start=1))
    values = ", ".join(f"R@{k} {recalls[k - 1]:.1%}" for k in marked)
    return element(
        "svg",
        element("title", "Recall at k (R@k)", id="curve-title"),
        element("desc", f"Share of mentions whose gold is among the first k entities: {values}.", id="curve-values"),
        [_level(y(tick), f"{tick:.0%}") for tick in ticks],
        [_label(x(k), _HEIGHT - _BOTTOM + 18, f"{k}", "middle", "axis") for k in marked],
        _label((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, "k, entities looked at", "middle", "axis"),
        _label(10, 18, "R@k", "start", "axis"),
        element("polyline", points=line, class_="line"),
        [_point(x(k), y(recalls[k - 1]), k, recalls[k - 1]) for k in marked],
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_labelledby="curve-title curve-values",
        class_="curve",
    )


def reliability_curve(found: Calibration, name: str) -> Html:
    """The share that is right over the confidence, beside the diagonal: a dot a bin, larger where there are more.

    name: of the modality, for the title.
    """
    total = sum(one.count for one in found.bins)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]

    def x(share: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * share, 1)

    def y(share: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share, 1)

    def dot(one: Bin) -> Html:
        text = f"{one.confidence:.1%} sure, {one.right:.1%} right, {one.count:,} mentions"
        radius = round(3 + 6 * math.sqrt(one.count / total), 1)
        return element("circle", element("title", text), cx=x(one.confidence), cy=y(one.right), r=radius, class_="dot")

    values = ", ".join(f"{one.right:.1%} at {one.confidence:.1%}" for one in found.bins)
    return element(
        "svg",
        element("title", f"Reliability of the confidence, {name}", id=f"reliability-{name}"),
        element("desc", f"Share that is right, at the mean confidence of each bin: {values}.", id=f"bins-{name}"),
        [_level(y(tick), f"{tick:.0%}") for tick in ticks],
        [_label(x(tick), _HEIGHT - _BOTTOM + 18, f"{tick:.0%}", "middle", "axis") for tick in ticks],
        _label((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, "confidence", "middle", "axis"),
        _label(10, 18, f"right, {name}: ECE {found.ece:.1%}, Brier {found.brier:.3f}", "start", "axis"),
        element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="grid"),
        [dot(one) for one in found.bins],
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_labelledby=f"reliability-{name} bins-{name}",
        class_="curve",
    )


def _scale(first: float) -> tuple[float, float]:
    """Where the vertical axis begins, and its step: about half of what is between the first value and 1."""
    for low, step in ((0.9, 0.02), (0.8, 0.05), (0.6, 0.1), (0.5, 0.1)):
        if first >= low + step / 2:
            return low, step
    return 0.0, 0.2


def _level(height: float, text: str) -> Html:
    line = element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height, class_="grid")
    return Html(line + _label(_LEFT - 8, height + 4, text, "end", "axis"))


def _point(x: float, y: float, k: int, share: float) -> Html:
    text = f"{100 * share:.1f}"
    dot = element("circle", element("title", f"R@{k} = {text} %"), cx=x, cy=y, r=4.5, class_="dot")
    # Above the first one are the labels of the axis, and the line rises beside it.
    label = _label(x + 6, y + 16, text, "start", "value") if k == 1 else _label(x, y - 10, text, "middle", "value")
    return Html(dot + label)


def _label(x: float, y: float, text: str, anchor: str, kind: str) -> Html:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=kind)
