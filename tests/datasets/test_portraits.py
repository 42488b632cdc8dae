from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.datasets.portraits import draw, make_face, make_shot


def pixels(face: str, shot: str, noise: float = 0.25, size: int = 48) -> np.ndarray:
    return np.asarray(draw(make_face(face, True), make_shot(shot, noise), size), float)


@given(st.text(max_size=5), st.text(max_size=5), st.floats(0, 1), st.sampled_from((16, 48, 96)))
@settings(max_examples=25, deadline=None)
def test_any_seed_is_a_picture_and_always_the_same(face: str, shot: str, noise: float, size: int) -> None:
    picture = draw(make_face(face), make_shot(shot, noise), size)
    assert (picture.size, picture.mode) == ((size, size), "RGB")
    assert picture.tobytes() == draw(make_face(face), make_shot(shot, noise), size).tobytes()


def test_every_hair_beard_glasses_and_mark_can_be_drawn() -> None:
    faces = [make_face(str(i)) for i in range(300)]
    shot = replace(make_shot("s", 0.0), hat=None, cover="")
    for trait, count in {"hair": 11, "beard": 5, "glasses": 4, "mark": 4}.items():
        kinds: set[Any] = {getattr(face, trait) for face in faces}
        assert len(kinds) == count
        drawn = {draw(replace(faces[0], **{trait: kind}), shot).tobytes() for kind in kinds}
        assert len(drawn) == count


def test_a_man_may_have_a_beard_and_a_woman_has_none() -> None:
    assert any(make_face(str(i), woman=False).beard for i in range(20))
    assert not any(make_face(str(i), woman=True).beard for i in range(20))


def test_without_noise_only_clothes_and_background_differ() -> None:
    one, two = pixels("a", "1", noise=0), pixels("a", "2", noise=0)
    other = pixels("b", "1", noise=0)
    middle = (slice(14, 32), slice(18, 30))
    assert np.abs(one[middle] - two[middle]).mean() < 1
    assert np.abs(one[middle] - other[middle]).mean() > 10
    assert np.abs(one - two).mean() > 10


def test_noise_makes_pictures_of_a_face_differ_more() -> None:
    def spread(noise: float) -> float:
        shots = [pixels("a", str(i), noise)[14:32, 18:30] for i in range(12)]
        return float(np.std(shots, axis=0).mean())

    assert spread(0.0) < spread(0.3) < spread(0.8)


@pytest.mark.parametrize("field", ["yaw", "pitch", "roll", "scale", "smile", "age", "gain", "blur", "cover", "grey"])
def test_what_a_shot_says_can_be_seen(field: str) -> None:
    shot = replace(make_shot("s", 0.0), cover_at=(0.0, 0.0, 0.3))
    values: dict[str, Any] = {"scale": 0.8, "smile": 0.12, "cover": "blob", "grey": True}
    changed = replace(shot, **{field: values.get(field, 0.6)})
    one, two = (np.asarray(draw(make_face("a"), each), float) for each in (shot, changed))
    assert np.abs(one - two).max() > 30


def histogram(picture: np.ndarray) -> np.ndarray:
    """Joint histogram of 4x4x4 colours, square-rooted, unit length."""
    cells = (picture.reshape(-1, 3) // 64).astype(int) @ [16, 4, 1]
    counts = np.sqrt(np.bincount(cells, minlength=64))
    return counts / np.linalg.norm(counts)


def test_colours_alone_do_not_tell_who_it_is() -> None:
    people = 100
    gallery = np.stack([histogram(pixels(str(i), f"{i} a")) for i in range(people)])
    queries = np.stack([histogram(pixels(str(i), f"{i} b")) for i in range(people)])
    assert ((queries @ gallery.T).argmax(1) == np.arange(people)).mean() < 0.1


def test_a_seed_is_a_face_on_every_machine() -> None:
    face, shot = make_face("golden"), make_shot("golden")
    assert (face.hair, round(face.width, 6), round(face.mark_y, 6)) == ("side", 0.64056, 0.172228)
    assert (round(shot.yaw, 6), shot.grain_at) == (-0.177692, (12, 25))
    # Another Pillow may draw an edge elsewhere, so only the means of nine fields are compared.
    means = np.asarray(draw(face, shot, 48), float).reshape(3, 16, 3, 16, 3).mean((1, 3))
    expected = [[121, 119, 67], [176, 165, 130], [216, 178, 198]]
    assert np.abs(means.mean(2) - expected).max() < 3
