"""Portraits drawn from a face: cartoon heads that a person can tell apart and a colour histogram cannot.

A `Face` is what stays the same on every picture of somebody, a `Shot` is everything else: pose, expression, age, light,
clothes, background, what covers the face, lens. Both follow from a seed. Lengths are in halves of the face's height,
x to the right, y down, z towards the viewer, the origin between eyes and nose; angles are in radians.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mmel.datasets.dice import Dice

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 96
# Shapes are drawn this many times larger than the picture and averaged down: Pillow's polygons have hard edges.
_OVERSAMPLING = 2

Colour = tuple[float, float, float]
Points = Sequence[tuple[float, float]] | np.ndarray

_SKINS: tuple[Colour, ...] = ((252, 226, 204), (236, 194, 160), (208, 158, 116), (160, 108, 74), (98, 64, 46))
_HAIRS: tuple[Colour, ...] = ((28, 24, 24), (66, 42, 28), (112, 72, 40), (164, 116, 62), (222, 188, 116), (158, 66, 30))
_IRISES: tuple[Colour, ...] = ((70, 44, 26), (104, 74, 34), (74, 108, 62), (66, 110, 158), (110, 122, 130))
_GREY: Colour = (196, 194, 190)
_DARK: Colour = (34, 26, 26)

# How far the tile of grain may be shifted, and where a curve is drawn through.
_GRAIN = 64
_STEPS = np.linspace(0, 1, 7)[:, None]

_LONG = ("long", "bob", "afro", "bun", "side", "crop", "plaits")
_SHORT = ("crop", "side", "quiff", "receding", "bald", "afro", "long", "mohawk")
_BEARDS = ("", "", "", "moustache", "goatee", "full", "stubble")
_GLASSES = ("", "", "", "", "round", "square", "half")
_MARKS = ("", "", "", "mole", "scar", "freckles")


@dataclass(frozen=True, slots=True)
class Face:
    """What stays the same on every picture of a person."""

    width: float
    jaw: float
    chin: float
    skin: Colour
    ears: float
    hair: str
    hair_colour: Colour
    hairline: float
    volume: float
    parting: float
    length: float
    eye_gap: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    eye_level: float
    iris: Colour
    brow_gap: float
    brow_thickness: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    mouth_level: float
    mouth_width: float
    lips: float
    red: float
    beard: str
    glasses: str
    mark: str
    mark_x: float
    mark_y: float


@dataclass(frozen=True, slots=True)
class Shot:
    """What differs between two pictures of a person."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    shift: tuple[float, float]
    skew: float
    smile: float
    open: float
    blink: float
    age: float
    shaved: bool
    spectacles: bool
    hat: Colour | None
    cover: str
    cover_at: tuple[float, float, float]
    clothes: Colour
    collar: Colour
    cut: str
    background: Colour
    shapes: tuple[tuple[float, float, float, Colour], ...]
    gain: float
    gradient: tuple[float, float]
    tint: Colour
    grey: bool
    blur: float
    grain: float
    grain_at: tuple[int, int]


def make_face(seed: str, woman: bool | None = None) -> Face:
    """The face that belongs to a seed. Every trait is drawn by itself, so that no two need to go together."""
    dice = Dice(seed)
    woman = dice.chance(0.5) if woman is None else woman
    skin = _shaded(_blend(_SKINS, dice.random()), dice.between(0.94, 1.06))
    return Face(
        width=dice.between(0.62, 0.86),
        jaw=dice.between(0.62, 0.96),
        chin=dice.between(0.30, 0.62),
        skin=skin,
        ears=dice.between(0.10, 0.24),
        hair=dice.pick(_LONG if woman else _SHORT),
        hair_colour=_shaded(dice.pick(_HAIRS), dice.between(0.85, 1.15)),
        hairline=dice.between(-0.78, -0.50),
        volume=dice.between(1.06, 1.28),
        parting=dice.between(-0.7, 0.7),
        length=dice.between(0.6, 1.5),
        eye_gap=dice.between(0.23, 0.40),
        eye_width=dice.between(0.11, 0.20),
        eye_height=dice.between(0.055, 0.12),
        eye_tilt=dice.between(-0.35, 0.35),
        eye_level=dice.between(-0.24, -0.04),
        iris=dice.pick(_IRISES),
        brow_gap=dice.between(0.13, 0.27),
        brow_thickness=dice.between(0.03, 0.12),
        brow_tilt=dice.between(-0.4, 0.4),
        nose_length=dice.between(0.20, 0.46),
        nose_width=dice.between(0.07, 0.22),
        mouth_level=dice.between(0.50, 0.68),
        mouth_width=dice.between(0.17, 0.36),
        lips=dice.between(0.03, 0.12),
        red=dice.between(0.2, 0.8) if woman else dice.between(0.0, 0.35),
        beard="" if woman else dice.pick(_BEARDS),
        glasses=dice.pick(_GLASSES),
        mark=dice.pick(_MARKS),
        mark_x=dice.between(-0.5, 0.5),
        mark_y=dice.between(0.0, 0.5),
    )


def make_shot(seed: str, noise: float = 0.25) -> Shot:
    """The circumstances that belong to a seed; `noise` from 0 (all alike, from the front) to 1 (hardly to be told)."""
    dice = Dice(seed)
    warm = dice.around(1.0 * noise)
    return Shot(
        yaw=dice.around(1.1 * noise),
        pitch=dice.around(0.7 * noise),
        roll=dice.around(0.5 * noise),
        scale=0.62 * math.exp(dice.around(0.4 * noise)),
        shift=(dice.around(0.3 * noise), dice.around(0.25 * noise)),
        skew=dice.around(0.3 * noise),
        smile=dice.around(0.24 * noise),
        open=max(0.0, dice.around(0.3 * noise)),
        blink=1 - max(0.0, dice.around(1.2 * noise)),
        age=max(0.0, dice.around(1.8 * noise)),
        shaved=dice.chance(0.2 * noise),
        spectacles=not dice.chance(0.2 * noise),
        hat=_any_colour(dice) if dice.chance(0.16 * noise) else None,
        cover=dice.pick(("sunglasses", "bar", "blob")) if dice.chance(0.3 * noise) else "",
        cover_at=(dice.between(-0.8, 0.8), dice.between(-0.9, 0.9), dice.between(0.1, 0.3)),
        clothes=_any_colour(dice),
        collar=_any_colour(dice),
        cut=dice.pick(("round", "v", "shirt", "stripes")),
        background=_any_colour(dice),
        shapes=tuple(
            (dice.between(-0.1, 1.1), dice.between(-0.1, 1.1), dice.between(0.05, 0.45), _any_colour(dice))
            for _ in range(dice.index(7))
        ),
        gain=math.exp(dice.around(1.6 * noise)),
        gradient=(dice.around(1.2 * noise), dice.around(0.9 * noise)),
        tint=(1 + warm, 1 + dice.around(0.4 * noise), 1 - warm),
        grey=dice.chance(0.5 * noise),
        blur=max(0.0, dice.around(3.0 * noise)),
        grain=dice.between(0, 16 * noise),
        grain_at=(dice.index(_GRAIN), dice.index(_GRAIN)),
    )


def draw(face: Face, shot: Shot, size: int = SIZE) -> Image:
    """The portrait, `size` pixels square, RGB."""
    from PIL import ImageFilter

    sketch = _Sketch()
    _back_hair(sketch, face, shot)
    _body(sketch, face, shot)
    _head(sketch, face)
    _eyes(sketch, face, shot)
    _nose(sketch, face)
    _mouth(sketch, face, shot)
    _wrinkles(sketch, face, shot)
    _mark(sketch, face)
    _front_hair(sketch, face, shot)
    _brows(sketch, face, shot)
    _worn(sketch, face, shot)
    picture = sketch.render(shot, size * _OVERSAMPLING).reduce(_OVERSAMPLING)
    if shot.blur > 0.4:
        picture = picture.filter(ImageFilter.BoxBlur(shot.blur * size / SIZE))
    return _lit(picture, shot)


class _Sketch:
    """Areas and lines of one head, projected together: one pass of numpy for all points."""

    def __init__(self) -> None:
        self._points: list[np.ndarray] = []
        self._depths: list[tuple[float, float]] = []
        self._styles: list[tuple[Colour, float]] = []

    def area(self, points: Points, colour: Colour, base: float = 0.0, bulge: float = 0.0) -> None:
        """A filled polygon at depth `base`, plus `bulge` times the depth of the face's surface."""
        self.line(points, 0.0, colour, base, bulge)

    def line(self, points: Points, width: float, colour: Colour, base: float = 0.0, bulge: float = 0.0) -> None:
        """An open line; width in units of the face."""
        self._points.append(np.asarray(points, float))
        self._depths.append((base, bulge))
        self._styles.append((colour, width))

    def render(self, shot: Shot, size: int) -> Image:
        from PIL import Image, ImageDraw

        picture = Image.new("RGB", (size, size), _pixel(shot.background))
        pen = ImageDraw.Draw(picture)
        for x, y, radius, colour in shot.shapes:
            x0, y0, x1, y1 = ((v * size) for v in (x - radius, y - radius, x + radius, y + radius))
            (pen.rectangle if radius < 0.2 else pen.ellipse)((x0, y0, x1, y1), fill=_pixel(colour))
        counts = [len(points) for points in self._points]
        ends = np.cumsum(counts).tolist()
        flat = (_projected(np.concatenate(self._points), np.repeat(self._depths, counts, axis=0), shot) * size).tolist()
        unit = shot.scale * size / 2
        for (colour, width), count, end in zip(self._styles, counts, ends, strict=True):
            corners = [(x, y) for x, y in flat[end - count : end]]
            if width:
                pen.line(corners, fill=_pixel(colour), width=max(1, round(width * unit)), joint="curve")
            else:
                pen.polygon(corners, fill=_pixel(colour))
        return picture


def _projected(points: np.ndarray, depths: np.ndarray, shot: Shot) -> np.ndarray:
    """Points of the head `[n, 2]` with `[n, 2]` (base, bulge) as places in the picture, 0 to 1."""
    x, y = points.T
    z = depths[:, 0] + depths[:, 1] * np.sqrt(np.maximum(0.0, 1 - 1.1 * x * x - 0.45 * y * y))
    x, z = x * math.cos(shot.yaw) + z * math.sin(shot.yaw), z * math.cos(shot.yaw) - x * math.sin(shot.yaw)
    y, z = y * math.cos(shot.pitch) - z * math.sin(shot.pitch), z * math.cos(shot.pitch) + y * math.sin(shot.pitch)
    nearer = 1 / (1 - 0.15 * z)
    x, y = x * nearer + shot.skew * y, y * nearer
    turned = np.stack(
        (x * math.cos(shot.roll) - y * math.sin(shot.roll), x * math.sin(shot.roll) + y * math.cos(shot.roll)), axis=1
    )
    return 0.5 + 0.5 * (shot.scale * turned + np.array(shot.shift))


def _head(sketch: _Sketch, face: Face) -> None:
    w, j, c = face.width, face.width * face.jaw, face.width * face.chin
    shade = _shaded(face.skin, 0.82)
    for side in (-1, 1):
        sketch.area(_oval(side * w, 0.02, face.ears, face.ears * 1.5), shade, base=-0.1)
    half = [(0.5 * w, -0.98), (0.9 * w, -0.66), (w, -0.2), (0.98 * w, 0.15), (j, 0.55), (c, 0.9), (0.4 * c, 1.0)]
    outline = _smooth([(0.0, -1.04), *half, (0.0, 1.02), *((-x, y) for x, y in reversed(half))])
    sketch.area(outline, face.skin)
    # The far cheek lies in the shade, which tells the eye where the head is turned.
    cheek = _smooth([(0.55 * w, 0.1), (0.94 * w, 0.12), (0.92 * j, 0.55), (0.5 * j, 0.5)])
    sketch.area(cheek, _shaded(face.skin, 0.93), bulge=0.1)


def _eyes(sketch: _Sketch, face: Face, shot: Shot) -> None:
    height = max(0.012, face.eye_height * shot.blink)
    for side in (-1, 1):
        x, y = side * face.eye_gap, face.eye_level
        eye = _oval(x, y, face.eye_width, height, tilt=side * face.eye_tilt)
        sketch.area(eye, (244, 242, 236), bulge=0.55)
        if height > 0.03:
            radius = min(0.085, 1.2 * height)
            sketch.area(_oval(x, y, radius, min(radius, height)), face.iris, bulge=0.56)
            sketch.area(_oval(x, y, 0.4 * radius, 0.4 * min(radius, height)), (12, 10, 10), bulge=0.57)
        sketch.line(eye[len(eye) // 2 :], 0.03, _DARK, bulge=0.56)


def _brows(sketch: _Sketch, face: Face, shot: Shot) -> None:
    colour = _shaded(_hair_colour(face, shot), 0.7)
    for side in (-1, 1):
        x, y = side * face.eye_gap, face.eye_level - face.brow_gap
        reach, rise = 1.25 * face.eye_width, face.brow_tilt * face.eye_width
        points = [(x - side * reach, y + rise), (x, y - 0.04), (x + side * reach, y - rise + 0.02)]
        sketch.line(_curve(points), face.brow_thickness, colour, bulge=0.6)


def _nose(sketch: _Sketch, face: Face) -> None:
    top, tip, w = face.eye_level + 0.06, face.eye_level + 0.12 + face.nose_length, face.nose_width
    shade, dark = _shaded(face.skin, 0.86), _shaded(face.skin, 0.62)
    # The tip stands out from the face, so the nose leans when the head turns.
    sketch.area(
        _smooth([(-0.05, top), (0.05, top), (w, tip - 0.04), (0.0, tip + 0.05), (-w, tip - 0.04)]), shade, 0.1, 0.6
    )
    for side in (-1, 1):
        sketch.area(_oval(side * 0.55 * w, tip, 0.3 * w, 0.025), dark, 0.1, 0.6)


def _mouth(sketch: _Sketch, face: Face, shot: Shot) -> None:
    y, w, lips = face.mouth_level, face.mouth_width, face.lips
    red = _mixed(_shaded(face.skin, 0.78), (186, 40, 56), face.red)
    corner = y - shot.smile
    upper = [(-w, corner), (-0.4 * w, y - lips), (0.0, y - 0.6 * lips), (0.4 * w, y - lips), (w, corner)]
    lower = [(0.5 * w, y + lips + shot.open), (0.0, y + 1.2 * lips + shot.open), (-0.5 * w, y + lips + shot.open)]
    if face.beard and not shot.shaved:
        _beard(sketch, face, shot)
    sketch.area(_smooth(upper + lower), red, bulge=0.58)
    if shot.open > 0.05:
        inner = [(-0.8 * w, corner), (0.0, y - 0.2 * lips), (0.8 * w, corner), (0.0, y + 0.5 * lips + shot.open)]
        sketch.area(_smooth(inner), (64, 16, 20), bulge=0.59)
    else:
        sketch.line(_curve([(-w, corner), (0.0, y), (w, corner)]), 0.02, _shaded(red, 0.5), bulge=0.59)


def _beard(sketch: _Sketch, face: Face, shot: Shot) -> None:
    colour, y, w, j = _hair_colour(face, shot), face.mouth_level, face.mouth_width, face.width * face.jaw
    above = y - face.lips - 0.03
    if face.beard in ("full", "stubble"):
        if face.beard == "stubble":
            colour = _mixed(face.skin, colour, 0.35)
        half = [(0.97 * face.width, 0.1), (j, 0.56), (face.width * face.chin, 0.92)]
        inner = [(0.8 * j, 0.38), (1.15 * w, above - 0.05)]
        line = [*half, (0.0, 1.06), *((-a, b) for a, b in reversed(half)), *((-a, b) for a, b in inner), (0.0, above)]
        sketch.area([*line, *reversed(inner)], colour, bulge=0.15)
    if face.beard in ("moustache", "goatee"):
        moustache = [(0.0, above - 0.08), (1.1 * w, above + 0.05), (1.2 * w, above + 0.12), (0.0, above + 0.04)]
        sketch.area([*moustache, (-1.2 * w, above + 0.12), (-1.1 * w, above + 0.05)], colour, bulge=0.6)
    if face.beard == "goatee":
        sketch.area(
            _smooth([(-0.6 * w, y + 0.14), (0.6 * w, y + 0.14), (0.3 * w, 1.1), (-0.3 * w, 1.1)]), colour, bulge=0.3
        )


def _wrinkles(sketch: _Sketch, face: Face, shot: Shot) -> None:
    if shot.age < 0.25:
        return
    colour = _shaded(face.skin, 1 - 0.4 * min(1.0, shot.age))
    for i in range(2):
        y = -0.62 + 0.12 * i
        sketch.line([(-0.32, y), (0.0, y - 0.03), (0.32, y)], 0.02, colour, bulge=0.5)
    for side in (-1, 1):
        x, low = side * (face.mouth_width + 0.06), face.mouth_level
        sketch.line(
            [(side * (face.nose_width + 0.05), low - 0.24), (x, low - 0.06), (x, low + 0.1)], 0.025, colour, bulge=0.5
        )
        x, y = side * face.eye_gap, face.eye_level
        sketch.line([(x - side * 0.1, y + 0.16), (x + side * 0.1, y + 0.15)], 0.02, colour, bulge=0.5)


def _mark(sketch: _Sketch, face: Face) -> None:
    x, y, dark = face.mark_x, face.mark_y, _shaded(face.skin, 0.5)
    if face.mark == "mole":
        sketch.area(_oval(x, y, 0.055, 0.055), dark, bulge=0.55)
    elif face.mark == "scar":
        sketch.line([(x - 0.12, y - 0.2), (x + 0.1, y + 0.2)], 0.035, _mixed(face.skin, (190, 90, 96), 0.6), bulge=0.55)
    elif face.mark == "freckles":
        for i in range(8):
            at = (-0.42 + 0.12 * i, 0.16 + 0.07 * (i * 5 % 3))
            sketch.area(_oval(*at, 0.022, 0.022), _shaded(face.skin, 0.68), bulge=0.55)


def _back_hair(sketch: _Sketch, face: Face, shot: Shot) -> None:
    colour, w, v = _shaded(_hair_colour(face, shot), 0.8), face.width, face.volume
    if face.hair == "afro":
        sketch.area(_bumps(0.0, -0.35, v * w * 1.25, v * 0.98), colour, base=-0.3)
    elif face.hair in ("long", "bob"):
        low = 0.35 + (0.9 * face.length if face.hair == "long" else 0.25 * face.length)
        side = v * w * 1.08
        half = [(0.6 * side, -1.0 * v), (side, -0.5), (1.05 * side, low * 0.6), (0.95 * side, low), (0.5 * side, low)]
        sketch.area(_smooth([*half, *((-x, y) for x, y in reversed(half))]), colour, base=-0.3)
    elif face.hair == "bun":
        sketch.area(_oval(0.3 * face.parting, -1.22 * v, 0.34, 0.3), colour, base=-0.1)
    elif face.hair == "plaits":
        for side in (-1, 1):
            for i in range(4):
                sketch.area(_oval(side * (w + 0.12), 0.3 + 0.24 * i, 0.15, 0.16), colour, base=-0.1)


def _front_hair(sketch: _Sketch, face: Face, shot: Shot) -> None:
    colour = _hair_colour(face, shot)
    make = _FRONTS.get(face.hair)
    if make is not None:
        top = 1.05 * face.volume if face.hair == "quiff" else face.volume
        sketch.area([*_skull(face, top), *make(face, face.hairline - 0.12 * min(1.0, shot.age))], colour, bulge=0.08)
    if face.hair == "receding":
        for side in (-1, 1):
            x = side * face.width
            sketch.area(_smooth([(0.72 * x, -0.82), (1.04 * x, -0.6), (1.1 * x, -0.02), (0.92 * x, -0.1)]), colour)
    elif face.hair == "mohawk":
        sketch.area(
            _smooth(
                [
                    (-0.2, -0.72),
                    (-0.26, -1.2 * face.volume),
                    (0.0, -1.34 * face.volume),
                    (0.26, -1.2 * face.volume),
                    (0.2, -0.72),
                ]
            ),
            colour,
            bulge=0.2,
        )


def _fringe(face: Face, line: float) -> list[tuple[float, float]]:
    w = face.width
    return [(w, -0.15), (0.86 * w, line + 0.14), (0.0, line + 0.1), (-0.86 * w, line + 0.14), (-w, -0.15)]


def _parted(face: Face, line: float) -> list[tuple[float, float]]:
    w, at = face.width, face.parting * face.width * 0.8
    return [(w, 0.0), (0.9 * w, line + 0.25), (at, line - 0.22), (-0.9 * w, line + 0.25), (-w, 0.0)]


def _swept(face: Face, line: float) -> list[tuple[float, float]]:
    w, side = face.width, 1 if face.parting > 0 else -1
    line_points = [(w, -0.1), (0.9 * w, line + 0.3), (0.1 * w, line + 0.02), (-0.75 * w, line - 0.16), (-w, -0.3)]
    return line_points if side > 0 else [(-x, y) for x, y in reversed(line_points)]


def _straight(face: Face, line: float) -> list[tuple[float, float]]:
    w = face.width
    return [(w, -0.25), (0.82 * w, line), (-0.82 * w, line), (-w, -0.25)]


# The lower edge of the hair above the face, from right to left.
_FRONTS: dict[str, Callable[[Face, float], list[tuple[float, float]]]] = {
    "crop": _straight,
    "side": _swept,
    "quiff": _straight,
    "long": _parted,
    "bob": _fringe,
    "bun": _straight,
    "afro": _straight,
    "plaits": _parted,
}


def _body(sketch: _Sketch, face: Face, shot: Shot) -> None:
    sketch.area([(-0.34, 0.6), (0.34, 0.6), (0.4, 1.5), (-0.4, 1.5)], _shaded(face.skin, 0.8), base=-0.3)
    half = [(0.4, 1.22), (1.1, 1.4), (1.6, 2.0), (1.7, 4.0)]
    sketch.area([*((-x, y) for x, y in reversed(half)), *half], shot.clothes, base=-0.3)
    if shot.cut == "v":
        sketch.area([(-0.34, 1.2), (0.34, 1.2), (0.0, 1.9)], _shaded(face.skin, 0.85), base=-0.25)
    elif shot.cut == "shirt":
        sketch.area(
            [(-0.4, 1.15), (0.0, 1.5), (0.4, 1.15), (0.5, 1.5), (0.0, 3.0), (-0.5, 1.5)], shot.collar, base=-0.25
        )
    elif shot.cut == "stripes":
        for i in range(3):
            sketch.line([(-1.5, 1.6 + 0.3 * i), (1.5, 1.6 + 0.3 * i)], 0.12, shot.collar, base=-0.28)


def _worn(sketch: _Sketch, face: Face, shot: Shot) -> None:
    """Glasses, which belong to the face, and what happens to be in front of it."""
    if shot.hat is not None:
        sketch.area(
            [*_skull(face, 1.12 * face.volume), (1.2 * face.width, -0.5), (-1.2 * face.width, -0.5)],
            shot.hat,
            bulge=0.1,
        )
        sketch.line([(-1.5 * face.width, -0.5), (1.5 * face.width, -0.5)], 0.1, _shaded(shot.hat, 0.6), bulge=0.2)
    if shot.cover == "sunglasses":
        _lenses(sketch, face, "square", fill=True)
    elif face.glasses and shot.spectacles:
        _lenses(sketch, face, face.glasses, fill=False)
    x, y, reach = shot.cover_at
    if shot.cover == "bar":
        sketch.line([(x - 0.3, y - 3), (x + 0.3, y + 3)], reach, shot.collar, base=0.6)
    elif shot.cover == "blob":
        sketch.area(_oval(x, y, 1.4 * reach, 1.4 * reach), shot.collar, base=0.8)


def _lenses(sketch: _Sketch, face: Face, shape: str, fill: bool) -> None:
    frame, y = (38, 32, 36), face.eye_level
    wide, high = face.eye_width + 0.07, 0.17
    for side in (-1, 1):
        x = side * face.eye_gap
        if shape == "round":
            points = _oval(x, y, wide, 0.18)
            points = np.concatenate((points, points[:1]))
        else:
            top = y if shape == "half" else y - high
            points = np.array(
                [(x - wide, top), (x + wide, top), (x + wide, y + high), (x - wide, y + high), (x - wide, top)]
            )
        if fill:
            sketch.area(points, frame, bulge=0.64)
        sketch.line(points, 0.035, frame, bulge=0.64)
        sketch.line([(x + side * wide, y), (side * face.width, y - 0.05)], 0.03, frame, bulge=0.3)
    sketch.line([(wide - face.eye_gap, y), (face.eye_gap - wide, y)], 0.035, frame, bulge=0.66)


def _skull(face: Face, grow: float) -> np.ndarray:
    """The upper edge of hair, from left to right."""
    cos, sin = _arc(13, math.pi, math.pi)
    return np.column_stack((face.width * 1.02 * grow * cos, -0.3 + 0.78 * grow * sin))


def _oval(x: float, y: float, width: float, height: float, tilt: float = 0.0) -> np.ndarray:
    cos, sin = _arc(14, 0.0, 2 * math.pi * 13 / 14)
    return np.column_stack((x + width * cos, y + height * sin + tilt * width * cos))


def _bumps(x: float, y: float, width: float, height: float) -> np.ndarray:
    cos, sin = _arc(36, 0.0, 2 * math.pi * 35 / 36)
    radius = 1 + 0.06 * np.cos(9 * np.arctan2(sin, cos))
    return np.column_stack((x + width * radius * cos, y + height * radius * sin))


@cache
def _arc(count: int, start: float, sweep: float) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of angles from `start`; the first half of a turn lies below, where y is positive."""
    angles = np.linspace(start, start + sweep, count)
    return np.cos(angles), np.sin(angles)


def _smooth(points: Points) -> np.ndarray:
    """A closed Catmull-Rom curve through the points, four pieces an edge."""
    return _spline(len(points)) @ np.asarray(points, float)


def _curve(points: Points) -> np.ndarray:
    """A parabola through three points."""
    a, b, c = np.asarray(points, float)
    return a + _STEPS * (4 * b - 3 * a - c) + _STEPS**2 * (2 * a + 2 * c - 4 * b)


@cache
def _spline(count: int) -> np.ndarray:
    """`[4 count, count]` weights of a closed Catmull-Rom spline."""
    weights = np.zeros((4 * count, count))
    for i in range(count):
        for step in range(4):
            t = step / 4
            basis = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            for offset, value in zip((-1, 0, 1, 2), basis, strict=True):
                weights[4 * i + step, (i + offset) % count] += value / 2
    return weights


def _hair_colour(face: Face, shot: Shot) -> Colour:
    return _mixed(face.hair_colour, _GREY, min(0.9, max(0.0, shot.age - 0.15)))


def _any_colour(dice: Dice) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(dice.random(), dice.random(), dice.between(0.1, 1.0))
    return 255 * r, 255 * g, 255 * b


def _blend(scale: Sequence[Colour], at: float) -> Colour:
    """The colour at `at` (0 to 1) of a scale."""
    place = at * (len(scale) - 1)
    i = min(int(place), len(scale) - 2)
    return _mixed(scale[i], scale[i + 1], place - i)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    r, g, b = (a + share * (c - a) for a, c in zip(one, other, strict=True))
    return r, g, b


def _shaded(colour: Colour, factor: float) -> Colour:
    r, g, b = colour
    return r * factor, g * factor, b * factor


def _pixel(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (min(255, max(0, round(value))) for value in colour)
    return r, g, b


@cache
def _grain(size: int) -> np.ndarray:
    """A tile of normal noise; this generator's stream never changes (NEP 19)."""
    return np.random.RandomState(0).standard_normal((size + _GRAIN, size + _GRAIN, 1)).astype(np.float32)


def _lit(picture: Image, shot: Shot) -> Image:
    """Light from one side, its colour, and the grain of the film."""
    from PIL import Image

    pixels = np.asarray(picture, np.float32)
    size = len(pixels)
    if shot.grey:
        pixels = np.repeat(pixels @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    across = np.linspace(-1, 1, size, dtype=np.float32)
    light = shot.gain * np.outer(np.exp(shot.gradient[1] * across), np.exp(shot.gradient[0] * across))[:, :, None]
    tint = (1.0, 1.0, 1.0) if shot.grey else shot.tint
    # Film darkens softly where there is much light: no picture is lost in white.
    exposed = pixels * (light * np.array(tint, np.float32))
    exposed = 255 * (1 - np.exp(-exposed / 160)) / (1 - math.exp(-255 / 160))
    x, y = shot.grain_at
    exposed += shot.grain * _grain(size)[y : y + size, x : x + size]
    return Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8))
