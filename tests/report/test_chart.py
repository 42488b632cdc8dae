from __future__ import annotations

import re

import pytest

from mmel.evaluation.calibration import calibration
from mmel.report.chart import recall_curve, reliability_curve


def points(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'<polyline points="([^"]+)"', svg)
    assert found
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


def test_the_curve_runs_over_all_k_and_never_falls() -> None:
    line = points(recall_curve([0.5, 0.6, 0.6, 0.9]))
    assert len(line) == 4
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    assert [y for _, y in line] == sorted((y for _, y in line), reverse=True)
    # Equal factors of k are equal distances.
    assert line[1][0] - line[0][0] == pytest.approx(line[3][0] - line[1][0], abs=0.2)


@pytest.mark.parametrize("first", [0.0, 0.05, 0.3, 0.51, 0.55, 0.65, 0.8, 0.83, 0.91, 0.95, 1.0])
def test_the_axis_holds_every_value_and_ends_at_one(first: float) -> None:
    svg = recall_curve([first, 1.0])
    heights = [float(y) for y in re.findall(r'<line [^>]*y1="([^"]+)"', svg)]
    assert min(heights) <= min(y for _, y in points(svg)) <= max(y for _, y in points(svg)) <= max(heights)
    assert 4 <= len(heights) <= 7
    assert ">100%<" in svg


def test_values_are_said_and_marked() -> None:
    svg = recall_curve([0.5] * 5 + [0.75] * 95)
    assert 'role="img"' in svg
    assert "R@1 50.0%, R@3 50.0%, R@5 50.0%, R@10 75.0%, R@30 75.0%, R@100 75.0%" in svg
    assert svg.count("<circle") == 6


def test_few_entities_still_make_a_curve() -> None:
    assert recall_curve([0.5, 1.0]).count("<circle") == 2
    assert recall_curve([1.0, 1.0, 1.0]).count("<circle") == 2


def test_reliability_has_a_dot_a_bin_on_the_diagonal_where_confidence_is_frequency() -> None:
    svg = reliability_curve(
        calibration([0.25] * 4 + [0.75] * 4, [True, False, False, False, *[True] * 3, False]), "text"
    )
    assert svg.count("<circle") == 2 and "ECE 0.0%" in svg and "25.0% at 25.0%" in svg
    diagonal = re.search(
        r'<line x1="([^"]+)" y1="([^"]+)" x2="([^"]+)" y2="([^"]+)" class="grid"', svg[svg.rindex("<line") :]
    )
    assert diagonal
    left, low, right, high = map(float, diagonal.groups())
    dots = re.findall(r'cx="([^"]+)" cy="([^"]+)"', svg)
    for x, y in [(float(x), float(y)) for x, y in dots]:
        assert (x - left) / (right - left) == pytest.approx((low - y) / (low - high), abs=0.01)
