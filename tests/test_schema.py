"""Settings from YAML: scalars, nested sections, lists of sections, optional ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from mmel.errors import ConfigError
from mmel.schema import (
    Names,
    Section,
    describe,
    merge,
    parse_override,
    parse_yaml,
    read_yaml,
    settings,
    to_yaml,
    validate,
)


class Point(Section):
    x: float = Field(description="metres")
    y: float = Field(default=0.0, description="metres")


class Shape(Section):
    name: str = Field(default="", description="what it is called")
    centre: Point | None = Field(default=None, description="where it stands")
    corners: tuple[Point, ...] = Field(default=(), description="its outline")
    weights: dict[str, float] = Field(default={}, description="by material")
    tags: Names = Field(default=("plain",), description="any words")


def test_lists_optional_sections_and_free_mappings() -> None:
    data = {"centre": {"x": 1}, "corners": [{"x": 1, "y": 2}, {"x": 3}], "weights": {"iron": 2}, "tags": "big"}
    shape = validate(Shape, data, "shape.yaml")
    assert shape.centre == Point(x=1)
    assert shape.corners == (Point(x=1, y=2), Point(x=3))
    assert shape.weights == {"iron": 2}
    assert shape.tags == ("big",)
    assert validate(Shape, {"centre": None}, "shape.yaml").centre is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"corners": [{"x": 1}, {"x": 1, "z": 2}]}, "unknown key 'corners.1.z'"),
        ({"corners": [{"x": "far"}]}, 'corners.0.x="far": must be a valid number'),
        ({"corners": [{"y": 1}]}, "corners.0.x"),
        ({"corners": [3]}, "corners.0=3"),
        ({"centre": {"x": 1, "z": 2}}, "unknown key 'centre.z'"),
        ({"centre": {"x": "far"}}, 'centre.x="far": must be a valid number. Allowed: number; metres'),
        ({"centre": 3}, "'centre' is a section"),
        ({"weights": {"iron": "x"}}, 'weights="x": must be a valid number. Allowed: mapping of text to number'),
        ({"name": {"a": 1}}, "'name' is a setting"),
        ({"names": 1}, "Did you mean 'name'?"),
    ],
)
def test_errors_name_the_place(data: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Shape, data, "shape.yaml")
    assert str(caught.value).startswith("shape.yaml: ")
    assert words in str(caught.value)


def test_overrides_merge_by_key() -> None:
    base = {"name": "a", "centre": {"x": 1, "y": 2}}
    top = parse_override(Shape, "centre.x=5")
    assert merge(base, top) == {"name": "a", "centre": {"x": 5, "y": 2}}
    assert base["centre"] == {"x": 1, "y": 2}


def test_settings_and_describe_go_into_sections() -> None:
    keys = [key for key, *_ in settings(Shape)]
    assert keys == ["name", "centre.x", "centre.y", "corners", "weights", "tags"]
    assert "tags=[plain]" in describe(Shape)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", "010"),
        ("12:30", "12:30"),
        ("yes", "yes"),
        ("true", True),
        ("", None),
        ("2024-01-02", "2024-01-02"),
        ("{a: [1, b]}", {"a": [1, "b"]}),
    ],
)
def test_yaml_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text", ["none", "1e4", "no", "12:30", "010", "true", "~", "", "2024-01-02", "a: b", "é\n", "- x"]
)
def test_text_is_dumped_so_that_it_stays_text(text: str) -> None:
    assert parse_yaml(to_yaml({"a": [text]})) == {"a": [text]}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_dumping(number: float) -> None:
    assert parse_yaml(to_yaml({"a": number})) == {"a": number}


def test_read_yaml_keeps_line_numbers(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\nb: 2\na: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"x\.yaml:3:"):
        read_yaml(tmp_path / "x.yaml")
