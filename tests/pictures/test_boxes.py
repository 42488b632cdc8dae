"""Boxes against a picture in which each pixel is painted or not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmel.document import Box
from mmel.errors import InputError
from mmel.pictures import clip_box, crop

SIZE = (10, 6)


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((2, 1, 4, 5), 0.0, (2, 1, 4, 5)),
        ((2, 1, 4, 5), 0.5, (1, 0, 5, 6)),
        ((-3, -3, 20, 20), 0.0, (0, 0, 10, 6)),
        ((2.5, 1.2, 3.5, 1.3), 0.0, (2, 1, 4, 2)),
        ((9.5, 5.5, 30, 30), 0.0, (9, 5, 10, 6)),
        ((0, 0, 10, 6), 1.0, (0, 0, 10, 6)),
    ],
)
def test_clipped_and_enlarged(box: Box, margin: float, expected: tuple[int, int, int, int]) -> None:
    assert clip_box(box, SIZE, margin) == expected


@pytest.mark.parametrize("box", [(4, 1, 4, 5), (5, 1, 4, 5), (1, 5, 4, 5), (1, 5, 4, 2), (math.nan, 0, 1, 1)])
@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_no_box(box: Box, margin: float) -> None:
    with pytest.raises(InputError, match=r"field 'box': .* is no box\. Remedy: give finite pixels"):
        clip_box(box, SIZE, margin)


@pytest.mark.parametrize("box", [(10, 0, 12, 5), (0, 6, 5, 9), (-5, 0, 0, 5), (0, -5, 5, 0)])
def test_outside_even_where_the_margin_would_reach_in(box: Box) -> None:
    with pytest.raises(InputError, match=r"lies outside the picture of 10 x 6 pixels"):
        clip_box(box, SIZE, 2.0)


@given(
    st.tuples(*[st.floats(-20, 20)] * 4),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.floats(0, 3),
)
def test_a_box_is_an_error_or_holds_at_least_one_pixel(box: Box, size: tuple[int, int], margin: float) -> None:
    touched = box[0] < box[2] and box[1] < box[3] and box[0] < size[0] and box[1] < size[1] and min(box[2:]) > 0
    if not touched:
        with pytest.raises(InputError):
            clip_box(box, size, margin)
        return
    x0, y0, x1, y1 = clip_box(box, size, margin)
    assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
    assert x0 <= max(box[0], 0) and x1 >= min(box[2], size[0])


def test_crop_takes_the_pixels() -> None:
    values = np.arange(60, dtype=np.uint8).reshape(6, 10)
    picture = Image.fromarray(np.stack([values] * 3, axis=2))
    np.testing.assert_array_equal(np.asarray(crop(picture, (2, 1, 4, 5)))[..., 0], values[1:5, 2:4])
    assert crop(picture, None) is picture
    assert crop(Image.new("RGB", (1, 1)), (0, 0, 1, 1), margin=3).size == (1, 1)
