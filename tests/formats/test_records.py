from __future__ import annotations

import json
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.errors import InputError, SkipReport
from mmel.files import read_blocks, read_text
from mmel.formats import records
from mmel.formats.records import read_elements, read_list

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "list.json"


def elements(file: Path, text: str, size: int) -> list[Any]:
    """The elements of a text that is read in parts of `size` bytes."""
    file.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "read_blocks", partial(read_blocks, size=size))
        return [value for value, _ in read_elements(file, "remedy")]


@given(
    st.lists(VALUES, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]), st.sampled_from(["", "\ufeff", "\n "])
)
def test_a_list_read_in_parts_is_the_list(
    file: Path, values: list[Any], size: int, indent: int | None, head: str
) -> None:
    text = head + json.dumps(values, indent=indent, ensure_ascii=bool(indent))
    assert elements(file, text, size) == values


@given(st.lists(VALUES, max_size=6), st.integers(1, 40), st.data())
def test_a_broken_list_is_refused_where_the_decoder_refuses_it(
    file: Path, values: list[Any], size: int, data: st.DataObject
) -> None:
    whole = json.dumps(values, indent=1)
    cut = data.draw(st.integers(1, len(whole)))
    text = whole[:cut] + data.draw(st.sampled_from(["", '"', ",", "x", "]", "}", "\n["])) + whole[cut + 1 :]
    try:
        expected = json.loads(text)
    except json.JSONDecodeError as error:
        message = f":{error.lineno}: is no JSON: {error.msg} at column {error.colno}. Remedy: remedy"
        with pytest.raises(InputError, match="list.json:[0-9]+: is no JSON: ") as caught:
            elements(file, text, size)
        # The decoder of Python 3.13 names a comma before the end at its own place.
        assert str(caught.value).endswith(message) or "trailing comma" in error.msg
    else:
        assert elements(file, text, size) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"list.json:1: is no JSON: Expecting value at column 1"),
        ("{}", r"expected a list, found {}"),
        ("[NaN]", "NaN is no JSON number"),
        ("[" * 100_000, "recursion"),
        ("[1] 2", "Extra data at column 5"),
        ("[1 2]", "Expecting ',' delimiter at column 4"),
    ],
)
def test_what_is_no_list_is_refused(file: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        elements(file, text, 7)


def test_elements_come_before_a_fault_behind_them(file: Path) -> None:
    file.write_text('[{"a": 1}, {"a": 2}, {')
    stream = read_list(file, lambda record, _: record["a"], "remedy", SkipReport())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(InputError, match="list.json:1: is no JSON"):
        next(stream)


def test_an_element_that_is_no_object_is_counted(file: Path) -> None:
    file.write_text('[{"a": 1}, 3, {"a": 2}]')
    skips = SkipReport()
    assert [place.number for _, place in read_list(file, lambda *both: both, "remedy", skips)] == [0, 2]
    assert skips.counts == {"broken record": 1}
    with pytest.raises(InputError, match=r"list.json\[1\]: expected an object, found 3"):
        list(read_list(file, lambda *both: both, "remedy"))


def test_memory_is_that_of_an_element(file: Path) -> None:
    file.write_text(json.dumps([{"text": f"{i} " + "x" * 1000} for i in range(20_000)]))
    tracemalloc.start()
    count = sum(1 for _ in read_elements(file, "remedy"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 8e6 < file.stat().st_size


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"\xef\xbb\xbfab", "ab"),
        (b"a\xef\xbb\xbfb", "a\ufeffb"),
        ("é€😀".encode(), "é€😀"),
        (b"", ""),
        (b"ab\xffc", "byte 0xff at byte 2"),
        (b"a\xc3A", "byte 0xc3 at byte 1"),
        (b"a\xe2\x82", "byte 0xe2 at byte 1"),
        (b"\xef\xbb", "byte 0xef at byte 0"),
    ],
)
def test_parts_of_a_file_are_its_text(file: Path, raw: bytes, found: str, size: int) -> None:
    file.write_bytes(raw)
    if found.startswith("byte"):
        with pytest.raises(InputError, match=f"is not UTF-8: {found}"):
            list(read_blocks(file, size))
        with pytest.raises(InputError, match=f"is not UTF-8: {found}"):
            read_text(file)
    else:
        assert "".join(read_blocks(file, size)) == read_text(file) == found
