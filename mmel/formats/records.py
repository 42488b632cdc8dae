"""What the JSON-lines formats share: strict reading of records with the place of every fault, and writing."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from mmel.errors import InputError, SkipReport
from mmel.files import atomic_write, read_blocks, read_lines, read_text

T = TypeVar("T")
_REQUIRED: Any = object()
_KIND_NAMES = {str: "a string", int: "an integer", float: "a finite number", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file and the form its record must have; raises the errors about it.

    `line` is 0 where none is known: for the whole file, or, with `number`, for an element of a list (its place from 0)
    or of an object (its key).
    """

    file: str | Path
    line: int
    remedy: str
    number: int | str | None = None

    def error(self, message: str, field: str | None = None) -> InputError:
        file = self.file if self.number is None else f"{self.file}[{self.number!r}]"
        return InputError(message, file=file, line=self.line or None, field=field, remedy=self.remedy)

    def get(self, record: Any, name: str, kind: type[T], default: Any = _REQUIRED, within: str = "") -> T:
        """`record[name]`, checked to be a `kind`; `within` names the field that holds the record.

        A key that is missing or null gives `default`, or an error where there is none. A float may be written
        as an integer and must be finite.
        """
        where = f"{within}.{name}" if within else name
        if not isinstance(record, dict):
            raise self.error(f"expected an object, found {_shorten(record)}", within or None)
        value: Any = record.get(name)
        if type(value) is kind and kind is not float:
            return value
        if value is None and default is not _REQUIRED:
            return cast(T, default)
        if kind is float and is_finite(value):
            return cast(T, float(value))
        if name not in record:
            raise self.error(f"is missing; the record has the keys {_shorten(list(record))}", where)
        raise self.error(f"expected {_KIND_NAMES[kind]}, found {_shorten(value)}", where)

    def text(self, record: Any, name: str, default: Any = _REQUIRED, within: str = "") -> str:
        """A string that can be written as UTF-8, which half of a surrogate pair cannot."""
        value = self.get(record, name, str, default, within)
        if value and not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise self.error(f"holds half of a surrogate pair at character {error.start}", name) from error
        return value

    def texts(self, record: Any, name: str, blank: bool = True) -> list[str]:
        """A list of strings as `text` takes them, not `blank` ones where they may not be; None counts as empty."""
        values = self.get(record, name, list)
        found = [self.text({name: value}, name, "") for value in values]
        if not blank and not all(map(str.strip, found)):
            raise self.error("holds a blank one", name)
        return found

    def identifier(self, record: Any, name: str, default: Any = _REQUIRED, within: str = "") -> str:
        """An id, as a string; integers are taken too."""
        value = record.get(name) if isinstance(record, dict) else None
        if type(value) is int:
            return str(value)
        found = self.text(record, name, default, within)
        if found == "":
            raise self.error("is empty", name)
        return found


def read_records(
    path: str | Path, parse: Callable[[dict[str, Any], Place], T], remedy: str, skips: SkipReport | None = None
) -> Iterator[T]:
    """Stream `parse(object, place)` of each line; empty lines are passed over.

    Raises InputError naming file and line where a line is no JSON object or `parse` refuses it; with `skips`
    such a line is counted and the rest goes on.
    """
    for line, content in read_lines(path, skips):
        if not content or content.isspace():
            continue
        place = Place(path, line, remedy)
        try:
            record = parse(parse_object(content, place), place)
        except InputError as error:
            if skips is None:
                raise
            skips.add("broken record", str(error))
            continue
        yield record


def read_list(
    path: str | Path,
    parse: Callable[[Any, Place], T],
    remedy: str,
    skips: SkipReport | None = None,
    kind: type[dict[Any, Any]] | type[list[Any]] = dict,
) -> Iterator[T]:
    """Stream `parse(object, place)` of each element of a file that is one JSON list; places count from 0: `FILE[3]`.

    Raises InputError where the file is no such list, when the reading comes there, and where an element is no `kind`
    or `parse` refuses it; with `skips` that element is counted and the rest goes on.
    """
    return _parse_each(read_elements(path, remedy), parse, skips, kind)


def told_elsewhere(read: Callable[[SkipReport | None], Iterator[T]], skips: SkipReport | None) -> Iterator[T]:
    """What `read` gives of a file that is read for something else too; with `skips`, what it refuses is not counted.

    A file that is broken is read until there: it is for the other reader to tell.
    """
    if skips is None:
        yield from read(None)
        return
    with suppress(InputError):
        yield from read(SkipReport())


def read_mapping(
    path: str | Path, parse: Callable[[dict[str, Any], Place], T], remedy: str, skips: SkipReport | None = None
) -> Iterator[T]:
    """As `read_list` of a file that is one JSON object of objects; places are keys, as in `FILE['Q42']`."""
    elements = ((value, Place(path, 0, remedy, key)) for key, value in read_object(path, remedy, skips).items())
    return _parse_each(elements, parse, skips)


def _parse_each(
    elements: Iterable[tuple[Any, Place]],
    parse: Callable[[Any, Place], T],
    skips: SkipReport | None,
    kind: type[dict[Any, Any]] | type[list[Any]] = dict,
) -> Iterator[T]:
    for record, place in elements:
        try:
            if not isinstance(record, kind):
                raise place.error(f"expected {_KIND_NAMES[kind]}, found {_shorten(record)}")
            parsed = parse(record, place)
        except InputError as error:
            if skips is None:
                raise
            skips.add_once("broken record", error)
            continue
        yield parsed


def read_object(path: str | Path, remedy: str, skips: SkipReport | None = None) -> dict[str, Any]:
    """The JSON object that a file is, read at once.

    A key that stands twice in an object hides a value: it raises InputError; with `skips` it is counted, and the last
    value stays.
    """
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(items)
        if len(record) < len(items):
            repeated.extend(name for name, count in Counter(name for name, _ in items).items() if count > 1)
        return record

    decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=pairs)
    records = parse_object(read_text(path), Place(path, 0, remedy), decoder)
    for name in repeated:
        error = Place(path, 0, remedy, name).error("stands twice")
        if skips is None:
            raise error
        skips.add_once("key stands twice in an object", error)
    return records


def read_elements(path: str | Path, remedy: str) -> Iterator[tuple[Any, Place]]:
    """Stream the elements of a file that is one JSON list, whatever they are, and their places.

    Memory is that of the longest element, not of the file. Raises InputError where the file is no JSON list, when the
    reading comes there.
    """
    window = _Window(path, remedy)
    if window.peek() != "[":
        # Something else that is JSON is told as what it is.
        raise Place(path, 0, remedy).error(f"expected a list, found {_shorten(window.value())}")
    window.take()
    number, mark = 0, window.peek()
    while mark != "]":
        yield window.value(), Place(path, 0, remedy, number)
        number, mark = number + 1, window.peek()
        if mark == ",":
            window.take()
        elif mark != "]":
            raise window.error("Expecting ',' delimiter")
    window.take()
    if window.peek():
        raise window.error("Extra data")


class _Window:
    """A moving part of a file of JSON: its next mark, its next value, and errors with line and column."""

    def __init__(self, path: str | Path, remedy: str) -> None:
        self._path, self._remedy = path, remedy
        self._blocks = read_blocks(path)
        self._text, self._at = "", 0
        # Line breaks before the window, and the characters between the last of them and the window.
        self._lines, self._columns = 0, 0

    def peek(self) -> str:
        """The next character that is no white space; "" at the end of the file."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self) -> None:
        """Pass over the character that `peek` saw."""
        self._at += 1

    def value(self) -> Any:
        """The next JSON value."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off at the end of the window, or broken: only more of the file tells.
                if not self._more():
                    raise self.error(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:
                raise Place(self._path, 0, self._remedy).error(f"is no JSON that can be read: {error}") from error
            else:
                # A number may go on behind the window.
                if self._text[end : end + 1] not in _GOES_ON or not self._more():
                    self._at = end
                    return value

    def error(self, message: str, at: int | None = None) -> InputError:
        """The fault at a place of the window, by default the next character."""
        before = self._text[: self._at if at is None else at]
        line = self._lines + before.count("\n") + 1
        column = len(before) - before.rfind("\n") + ("\n" not in before) * self._columns
        return Place(self._path, line, self._remedy).error(f"is no JSON: {message} at column {column}")

    def _more(self) -> bool:
        """Move the window to what is unread and at least double it; at the end of the file False, and nothing moves."""
        # Doubling keeps one long element from being tried at each of its blocks.
        blocks, wanted = [self._text[self._at :]], len(self._text) - self._at
        while wanted >= 0 and (block := next(self._blocks, None)) is not None:
            blocks.append(block)
            wanted -= len(block)
        if not any(blocks[1:]):
            return False
        passed = self._text[: self._at]
        self._lines += passed.count("\n")
        self._columns = len(passed) - passed.rfind("\n") - 1 + ("\n" not in passed) * self._columns
        self._text, self._at = "".join(blocks), 0
        return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_GOES_ON = ("", ".", "e", "E")
_SPACE = re.compile(r"[ \t\n\r]*")


def parse_object(content: str, place: Place, decoder: json.JSONDecoder = _DECODER) -> dict[str, Any]:
    """The JSON object that `content` is; InputError with the place where it is none."""
    try:
        record = decoder.decode(content)
    except json.JSONDecodeError as error:
        # Of a whole file only the fault knows its line.
        raise replace(place, line=place.line or error.lineno).error(
            f"is no JSON: {error.msg} at column {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise place.error(f"is no JSON that can be read: {error}") from error
    if not isinstance(record, dict):
        raise place.error(f"expected an object, found {_shorten(record)}")
    return record


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_records(path: str | Path, records: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, whole or not at all; the number of lines.

    Raises InputError naming the record where a value has no JSON form (NaN, half of a surrogate pair).
    """
    count = 0
    with atomic_write(path, "wb") as stream:
        for record in records:
            stream.write(record_line(record, path, count))
            count += 1
    return count


def record_line(record: dict[str, Any], path: str | Path, number: int = 0) -> bytes:
    """The line of one record; InputError as `write_records` has it, `number` naming a record without an id."""
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    except (TypeError, ValueError) as error:
        name = record.get("id", record.get("doc_id", number))
        raise InputError(
            f"record {name!r} has a value without a JSON form: {error}",
            file=path,
            remedy="numbers must be finite, texts whole Unicode, values plain",
        ) from error


def others(record: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The keys of `record` that are not `known`, with their values."""
    if record.keys() <= known:
        return {}
    return {name: value for name, value in record.items() if name not in known}


def is_finite(value: Any) -> bool:
    """Whether `value` is a number that a float can hold (booleans are none)."""
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 1 << 1023)
