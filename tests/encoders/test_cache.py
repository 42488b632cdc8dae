from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mmel.encoders.cache import Encoding, EncodingCache, content_key

DIM = 3
TEXTS = ["a", "bb", "", "cccc", "dd", "eee"]


def encode(texts: Sequence[str]) -> list[Encoding]:
    """One row a character, that tells the text and the place; the empty text has none."""
    out = []
    for text in texts:
        rows = np.array([[ord(c), len(text), i] for i, c in enumerate(text)], np.float16).reshape(-1, DIM)
        out.append(Encoding(rows, np.array([[i, i + 1] for i in range(len(text))], np.int32).reshape(-1, 2)))
    return out


def check(cache: EncodingCache, texts: Sequence[str]) -> None:
    for text, expected in zip(texts, encode(texts), strict=True):
        found = cache.get(text)
        np.testing.assert_array_equal(found.vectors, expected.vectors)
        np.testing.assert_array_equal(found.spans, expected.spans)
        assert (found.vectors.dtype.name, found.spans.dtype.name) == ("float16", "int32")


@pytest.fixture
def cache(tmp_path: Path) -> EncodingCache:
    return EncodingCache(tmp_path / "cache", DIM)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_what_is_filled_comes_back_also_after_opening_anew(cache: EncodingCache, batch: int) -> None:
    done: list[int] = []
    assert cache.fill(TEXTS, encode, batch, done.append) == len(TEXTS)
    assert sum(done) == len(TEXTS) and max(done) <= batch
    for one in (cache, EncodingCache(cache.folder, DIM)):
        assert len(one) == len(TEXTS)
        check(one, TEXTS)
        full = [text for text in TEXTS if text]
        np.testing.assert_array_equal(one.first_rows(full), [e.vectors[0] for e in encode(full)])


def test_nothing_is_encoded_twice(cache: EncodingCache) -> None:
    asked: list[str] = []

    def count(texts: Sequence[str]) -> list[Encoding]:
        asked.extend(texts)
        return encode(texts)

    assert cache.fill(["a", "bb", "a", "a"], count, 1) == 2
    assert cache.fill(["bb", "cccc", "a"], count) == 1
    assert EncodingCache(cache.folder, DIM).fill(["cccc", "a"], count) == 0
    assert asked == ["a", "bb", "cccc"]
    assert cache.missing(["dd", "a", "dd", "eee"]) == ["dd", "eee"]
    assert "a" in cache and "dd" not in cache


def test_an_empty_cache(cache: EncodingCache) -> None:
    assert len(cache) == 0
    assert cache.first_rows([]).shape == (0, DIM)
    assert cache.fill([], encode) == 0
    with pytest.raises(KeyError):
        cache.get("a")


def test_a_failing_encoder_loses_only_its_batch(cache: EncodingCache) -> None:
    def fail_at_c(texts: Sequence[str]) -> list[Encoding]:
        if "cccc" in texts:
            raise RuntimeError("out of memory")
        return encode(texts)

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.fill(TEXTS, fail_at_c, batch=2)
    reopened = EncodingCache(cache.folder, DIM)
    check(reopened, ["a", "bb"])
    assert reopened.missing(TEXTS) == ["", "cccc", "dd", "eee"]


@pytest.mark.parametrize("name", ["vectors", "spans", "keys"])
def test_a_file_cut_anywhere_gives_what_is_whole_and_takes_the_rest_again(
    cache: EncodingCache, tmp_path: Path, name: str
) -> None:
    for text in TEXTS:
        cache.fill([text], encode)
    size = (cache.folder / name).stat().st_size
    for cut in range(size):
        folder = tmp_path / str(cut)
        shutil.copytree(cache.folder, folder)
        with open(folder / name, "r+b") as stream:
            stream.truncate(cut)
        opened = EncodingCache(folder, DIM)
        check(opened, [text for text in TEXTS if text in opened])
        assert opened.missing(TEXTS) == TEXTS[len(opened) :]
        # Other texts go where the lost rows were: the keys of those must not come true by that.
        opened.fill(["zz", "yyyyy"], encode)
        opened.fill(TEXTS, encode)
        for one in (opened, EncodingCache(folder, DIM)):
            check(one, [*TEXTS, "zz", "yyyyy"])
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["vectors", "spans"])
@pytest.mark.parametrize("writes", range(5))
def test_a_writer_stopped_between_its_files_harms_no_lost_row(
    cache: EncodingCache, monkeypatch: pytest.MonkeyPatch, name: str, writes: int
) -> None:
    for text in TEXTS:
        cache.fill([text], encode)
    with open(cache.folder / name, "r+b") as stream:
        stream.truncate(stream.seek(0, 2) // 2)
    done = 0
    write = EncodingCache._write

    def stop(self: EncodingCache, *arguments: object) -> None:
        nonlocal done
        if done == writes:
            raise KeyboardInterrupt
        done += 1
        write(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(EncodingCache, "_write", stop)
        try:
            EncodingCache(cache.folder, DIM).fill(["zz", "yyyyyyyyyyyyyy"], encode)
        except KeyboardInterrupt:
            assert writes < 4
    opened = EncodingCache(cache.folder, DIM)
    check(opened, [text for text in [*TEXTS, "zz", "yyyyyyyyyyyyyy"] if text in opened])
    opened.fill(TEXTS, encode)
    check(EncodingCache(cache.folder, DIM), TEXTS)


def test_rows_without_their_key_are_overwritten(cache: EncodingCache) -> None:
    """A writer killed between rows and key, with half a row and half a key besides."""
    cache.fill(TEXTS[:2], encode)
    sizes = {name: (cache.folder / name).stat().st_size for name in ("vectors", "spans", "keys")}
    for name in sizes:
        with open(cache.folder / name, "ab") as stream:
            stream.write(b"\x7f" * 21)
    reopened = EncodingCache(cache.folder, DIM)
    assert len(reopened) == 2
    reopened.fill(TEXTS, encode)
    check(EncodingCache(cache.folder, DIM), TEXTS)
    rows = sum(map(len, TEXTS))
    assert (cache.folder / "vectors").stat().st_size == rows * DIM * 2


def test_two_instances_take_turns(cache: EncodingCache) -> None:
    other = EncodingCache(cache.folder, DIM)
    cache.fill(["a", "bb"], encode)
    other.fill(["bb", "cccc"], encode)
    cache.fill(["cccc", "dd"], encode)
    other.fill(["a", "eee"], encode)
    for one in (cache, other):
        one.fill([text for text in TEXTS if text], encode)
        check(one, [text for text in TEXTS if text])
    stored = (cache.folder / "keys").stat().st_size // 32
    assert stored == len(EncodingCache(cache.folder, DIM)) == 5


def fill_in_process(folder: Path, texts: Sequence[str]) -> None:
    EncodingCache(folder, DIM).fill(texts, encode, batch=3)


def test_processes_write_at_the_same_time(cache: EncodingCache) -> None:
    texts = [f"{'x' * (i % 7)}{i}" for i in range(120)]
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=fill_in_process, args=(cache.folder, part))
        for part in (texts[:80], texts[40:][::-1], texts[::2])
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    opened = EncodingCache(cache.folder, DIM)
    assert len(opened) == len(texts)
    check(opened, texts)


def test_keys_are_of_the_content_and_survive_fixed_width() -> None:
    keys = [content_key(str(i)) for i in range(2000)]
    assert len(set(keys)) == 2000
    assert all(len(key) == 16 and b"\0" not in key for key in keys)
    assert content_key("é") != content_key("e\u0301")
