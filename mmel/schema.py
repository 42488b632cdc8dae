"""Typed settings from YAML: strict reading, and errors that name key, value and what is allowed.

A schema is a tree of `Section`s. Settings are read with `read_yaml`, checked with `validate`, listed with `settings`.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mmel.errors import ConfigError, did_you_mean
from mmel.files import read_lines

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """Base of every part of a schema: frozen, and a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def as_tuple(value: object) -> object:
    """Let one word stand for a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _expand_home(value: object) -> object:
    return str(Path(value).expanduser()) if isinstance(value, str) else value


UserPath = Annotated[Path, BeforeValidator(_expand_home)]
"""A path; a leading `~` is the home folder."""

Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(as_tuple)]
"""One name or a list of names."""


# --- YAML -----------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars (1e-4 is a number, `no` and `12:30` are words, dates are text); a key twice is an error."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (a class variable of the base class, untyped there)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read as text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|none|None|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def parse_yaml(text: str, where: str = "text") -> Any:
    """The value of a YAML text (1.2 scalars); ConfigError names line and problem."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        raise ConfigError(f"{place}: is not YAML: {getattr(error, 'problem', None) or error}") from error


def to_yaml(data: Mapping[str, Any]) -> str:
    """YAML text that `parse_yaml` reads back equal."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError where it is no YAML or no mapping, InputError where unreadable."""
    value = parse_yaml("\n".join(text for _, text in read_lines(path)), where=str(path))
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{path}: a mapping of names to values is expected, found {_shown(value)}")
    return value


# --- checking -------------------------------------------------------------------------------------------------------


def validate(schema: type[S], data: Mapping[str, Any], where: str) -> S:
    """The section that plain values describe; `where` (a file, say) begins every error.

    Types are strict: 1.5 or true is no integer, 3 no text. Raises ConfigError with one line for each bad value.
    """
    check_keys(schema, data, where)
    try:
        # Through JSON: strict typing there still takes a list for a tuple and a string for a path.
        return schema.model_validate_json(json.dumps(data, default=_refuse), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, schema, where) for item in error.errors())) from error


def parse_override(schema: type[Section], override: str) -> dict[str, Any]:
    """`{"train": {"epochs": 3}}` of `train.epochs=3`; ConfigError where the schema has no such key."""
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise ConfigError(f"override '{override}': expected key=value, for example train.epochs=3")
    nested: Any = parse_yaml(text, where=f"override '{override}'")
    for part in reversed(key.split(".")):
        nested = {part: nested}
    check_keys(schema, nested, f"override '{override}'")
    return typing.cast("dict[str, Any]", nested)


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `top` on it, mappings merged key by key."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def settings(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """`(dotted key, type, default, description)` of every setting, in the order of the schema."""
    for name, field in schema.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            yield from settings(section, f"{prefix}{name}.")
        else:
            kind = ", ".join([_type_name(field.annotation), *_limits(field.metadata)])
            yield f"{prefix}{name}", kind, field.default, field.description or ""


def describe(schema: type[BaseModel]) -> str:
    """Every setting with its default, meaning and type, one a line, for `--help`."""
    rows = []
    for key, kind, default, description in settings(schema):
        shown = f"[{', '.join(default)}]" if isinstance(default, tuple) else "none" if default is None else default
        rows.append((f"{key}={shown}", f"{description} ({kind})"))
    width = min(40, max(len(left) for left, _ in rows))
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)


def check_keys(schema: type[BaseModel], data: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError at the first key that the schema does not have at that level."""
    _check_level(schema, schema, data, where, "")


def _check_level(
    root: type[BaseModel], schema: type[BaseModel], data: Mapping[str, Any], where: str, prefix: str
) -> None:
    for key, value in data.items():
        if key not in schema.model_fields:
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'.{_suggest(root, schema, str(key), prefix)}")
        annotation = schema.model_fields[key].annotation
        section, item = _section(annotation), _item(annotation)
        if section is not None and isinstance(value, Mapping):
            _check_level(root, section, value, where, f"{prefix}{key}.")
        elif section is not None and not (value is None and _type_name(annotation).endswith("or none")):
            names = ", ".join(f"{prefix}{key}.{name}" for name in section.model_fields)
            raise ConfigError(f"{where}: '{prefix}{key}' is a section, not a setting; set one of {names}")
        elif item is not None and isinstance(value, list):
            for place, element in enumerate(value):
                if isinstance(element, Mapping):
                    _check_level(root, item, element, where, f"{prefix}{key}.{place}.")
        elif section is None and isinstance(value, Mapping) and typing.get_origin(annotation) is not dict:
            raise ConfigError(f"{where}: '{prefix}{key}' is a setting, not a section; it has no keys below it")


def _suggest(root: type[BaseModel], schema: type[BaseModel], key: str, prefix: str) -> str:
    elsewhere = [known for known, *_ in settings(root) if known.rpartition(".")[2] == key]
    if elsewhere:
        return f" Did you mean {' or '.join(repr(known) for known in elsewhere)}?"
    return did_you_mean(prefix + key, [prefix + name for name in schema.model_fields])


def _explain(error: Mapping[str, Any], schema: type[BaseModel], where: str) -> str:
    """One validation error as key, value, what is allowed, and what the setting means."""
    location = [str(part) for part in error["loc"]]
    known = {key: (kind, description) for key, kind, _, description in settings(schema)}
    place = next((i for i in range(len(location), 0, -1) if ".".join(location[:i]) in known), None)
    reason = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    # Inside a list, or in a section of a mapping, the whole path says most.
    if place is None or len(location) > place + 1 or any(part.isdigit() for part in location):
        return f"{where}: {'.'.join(location)}={_shown(error['input'])}: {reason}"
    key = ".".join(location[:place])  # a union adds the name of its branch behind the key
    kind, description = known[key]
    return f"{where}: {key}={_shown(error['input'])}: {reason}. Allowed: {kind}; {description}"


def _refuse(value: object) -> str:
    raise ConfigError(f"a value of type {type(value).__name__} has no place in settings: {_shown(value)}")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field is, or may be beside None."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((found for found in map(_section, typing.get_args(annotation)) if found), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _item(annotation: Any) -> type[BaseModel] | None:
    """The section that a field is a list of."""
    return _section(typing.get_args(annotation)[0]) if typing.get_origin(annotation) is tuple else None


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    """The constraints of a field in words."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "length at least"}
    for constraint in metadata:
        for name, word in words.items():
            if getattr(constraint, name, None) is not None:
                yield f"{word} {getattr(constraint, name)}"


def _type_name(annotation: Any) -> str:
    """A type as people write it: `int or none`, `one of lbp, mean-field`, `list of text`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type_name(arguments[0])} to {_type_name(arguments[1])}"
    names = {type(None): "none", str: "text", Path: "path", int: "integer", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))
