"""Scoring a stream: order, counts, memory, and what stays when it ends before its end."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmel.document import NIL, Document, LinkedDocument
from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import read_linked, write_documents
from mmel.formats.linked import LinkedWriter, writer_for
from mmel.scoring.inputs import BAD, RawInput
from mmel.scoring.partial import OutputError, PartialOutput
from mmel.scoring.stream import UNLINKED, UNWRITTEN, ScoreSettings, Summary, score
from tests.scoring.linkers import FakeLinker

_ROOT = Path(__file__).resolve().parents[2]
ABOUT = {"model": "m1", "knowledge base": "k1"}


def documents(count: int) -> list[Document]:
    return [Document(f"d{n}", f"Mira meets Otto and Nobody in film {n}.") for n in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_documents(tmp_path / "in.jsonl", documents(10))
    return tmp_path / "in.jsonl"


def run(source: Path, linker: Any = None, batch: int = 4, resume: bool = False, about: Any = None) -> Summary:
    with PartialOutput(source.with_name("out.jsonl"), ABOUT | (about or {}), resume=resume) as output:
        return score(
            linker or FakeLinker(), RawInput(source), output, writer_for("out.jsonl"), ScoreSettings(batch=batch)
        )


class Killed(BaseException):
    """As KeyboardInterrupt, or a kill: nothing may catch it."""


class DyingLinker(FakeLinker):
    """Dies at the document of an id."""

    def __init__(self, id: str) -> None:
        super().__init__()
        self.id = id

    def link(self, documents: Any, pictures: Any = None, documents_per_batch: int = 64) -> Iterator[Any]:
        for one in super().link(documents, pictures, documents_per_batch):
            if one.document.id == self.id:
                raise Killed
            yield one


def left(source: Path) -> list[str]:
    return sorted(file.name for file in source.parent.iterdir())


def test_documents_come_out_in_order_and_can_be_read_back(source: Path) -> None:
    linker = FakeLinker()
    summary = run(source, linker)
    linked = list(read_linked(source.with_name("out.jsonl")))
    assert [one.document.id for one in linked] == [f"d{n}" for n in range(10)]
    assert [len(call) for call in linker.calls] == [4, 4, 2]
    link = linked[0].text_links[1]
    assert (link.entity, [each.entity for each in link.candidates]) == ("Otto-1", [f"Otto-{k}" for k in range(1, 6)])
    nobody = linked[0].text_links[2]
    assert nobody.entity == NIL and nobody.candidates[-1].entity == NIL and len(nobody.candidates) == 6
    assert summary.documents == 10 and summary.counts["names"] == 30 and summary.counts["nil_names"] == 10
    assert summary.skips.exit_code == 0 and left(source) == ["in.jsonl", "out.jsonl"]
    assert summary.line().startswith("10 documents: 30 names (10 NIL); ")
    assert json.loads(json.dumps(summary.to_dict()))["names"] == {"linked": 30, "nil": 10}


def test_every_document_is_told_those_of_an_earlier_process_first(source: Path) -> None:
    with pytest.raises(Killed):
        run(source, DyingLinker("d5"))
    told: list[str] = []
    with PartialOutput(source.with_name("out.jsonl"), ABOUT, resume=True) as output:
        settings = ScoreSettings(batch=4)
        score(
            FakeLinker(), RawInput(source), output, writer_for("out.jsonl"), settings,
            lambda linked: told.append(linked.document.id),
        )  # fmt: skip
    assert told == [f"d{n}" for n in range(10)]


def test_the_head_of_a_format_stands_once(source: Path) -> None:
    def run_nif(linker: FakeLinker, resume: bool = False) -> None:
        writer = writer_for("out.ttl")
        with PartialOutput(source.with_name("out.ttl"), ABOUT, head=writer.head, resume=resume) as output:
            score(linker, RawInput(source), output, writer, ScoreSettings(batch=4))

    run_nif(FakeLinker())
    whole = source.with_name("out.ttl").read_bytes()
    source.with_name("out.ttl").unlink()
    with pytest.raises(Killed):
        run_nif(DyingLinker("d5"))
    run_nif(FakeLinker(), resume=True)
    assert source.with_name("out.ttl").read_bytes() == whole
    assert whole.startswith(writer_for("out.ttl").head) and whole.count(writer_for("out.ttl").head) == 1


def test_what_a_format_cannot_say_is_counted(source: Path) -> None:
    def encode(linked: LinkedDocument, number: int) -> bytes:
        if linked.document.id == "d2":
            raise InputError("no")
        return f"{number} {linked.document.id}\n".encode()

    with PartialOutput(source.with_name("out"), ABOUT) as output:
        summary = score(FakeLinker(), RawInput(source), output, LinkedWriter("lines", b"", encode))
    assert source.with_name("out").read_text().splitlines()[1:4] == ["1 d1", "2 d3", "3 d4"]
    assert summary.documents == 9 and summary.skips.counts == {UNWRITTEN: 1}


def test_long_documents_make_small_batches(tmp_path: Path) -> None:
    write_documents(tmp_path / "in.jsonl", [Document(f"d{n}", "x" * 150_000) for n in range(6)])
    linker = FakeLinker()
    run(tmp_path / "in.jsonl", linker, batch=100)
    assert [len(call) for call in linker.calls] == [4, 2]


def test_a_bad_document_does_not_stop_the_others(source: Path) -> None:
    bad = replace(documents(1)[0], id="bad", text="Poison")
    write_documents(source, [*documents(3), bad, *documents(6)[3:], Document("empty", " "), replace(bad, id="bad2")])
    summary = run(source)
    assert [one.document.id for one in read_linked(source.with_name("out.jsonl"))] == [f"d{n}" for n in range(6)]
    assert summary.skips.counts == {UNLINKED: 2, BAD: 1} and summary.skips.exit_code == 1
    assert "document 'bad': cannot be linked" in summary.skips.summary()


def test_a_bad_first_document_of_batches_of_one(source: Path) -> None:
    bad = replace(documents(1)[0], id="bad", text="Poison")
    write_documents(source, [bad, *documents(3)])
    summary = run(source, batch=1)
    assert summary.documents == 3 and summary.skips.counts == {UNLINKED: 1}


def test_where_no_document_can_be_linked_the_reason_is_the_error(source: Path) -> None:
    with pytest.raises(InputError, match="cannot be linked"):
        run(source, FakeLinker(refused="film"))
    assert left(source) == ["in.jsonl"]


def test_an_input_without_documents_is_an_error(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text('{"id": "a", "text": ""}\n')
    with pytest.raises(InputError, match="holds no document that can be read"):
        run(source)
    assert "is empty" in capsys.readouterr().err and left(source) == ["in.jsonl"]


@pytest.mark.parametrize("dies", [0, 3, 4, 7, 9])
def test_what_is_gone_on_with_becomes_the_same_file(source: Path, dies: int) -> None:
    whole = run(source)
    expected = source.with_name("out.jsonl").read_bytes()
    source.with_name("out.jsonl").unlink()
    with pytest.raises(Killed):
        run(source, DyingLinker(f"d{dies}"))
    finished = dies // 4 * 4
    partial = source.with_name("out.jsonl.partial")
    assert partial.exists() == bool(finished)
    if finished:
        assert len(list(read_linked(partial))) == finished
        with open(partial, "ab") as stream:
            stream.write(b'{"doc_id": "torn')
    linker = FakeLinker()
    summary = run(source, linker, resume=True)
    assert source.with_name("out.jsonl").read_bytes() == expected
    assert [id for call in linker.calls for id in call] == [f"d{n}" for n in range(finished, 10)]
    assert (summary.documents, summary.resumed, summary.counts) == (10, finished, whole.counts)
    assert left(source) == ["in.jsonl", "out.jsonl"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from mmel.formats.linked import writer_for
from mmel.scoring.inputs import RawInput
from mmel.scoring.partial import PartialOutput
from mmel.scoring.stream import ScoreSettings, score
from tests.scoring.linkers import FakeLinker

class Dying(FakeLinker):
    def link(self, documents, pictures=None, documents_per_batch=64):
        for one in super().link(documents, pictures, documents_per_batch):
            if one.document.id == "d9":
                os.kill(os.getpid(), signal.SIGKILL)
            yield one

source = Path(sys.argv[1])
with PartialOutput(source.with_name("out.jsonl"), {"model": "m1", "knowledge base": "k1"}) as output:
    score(Dying(), RawInput(source), output, writer_for("out.jsonl"), ScoreSettings(batch=4))
"""


def test_a_killed_process_leaves_what_was_finished(source: Path) -> None:
    run(source)
    expected = source.with_name("out.jsonl").read_bytes()
    source.with_name("out.jsonl").unlink()
    done = subprocess.run([sys.executable, "-c", _KILLED, str(source)], env=os.environ | {"PYTHONPATH": str(_ROOT)})
    assert done.returncode == -signal.SIGKILL
    assert len(list(read_linked(source.with_name("out.jsonl.partial")))) == 8
    assert run(source, resume=True).resumed == 8
    assert source.with_name("out.jsonl").read_bytes() == expected


def test_counts_of_an_earlier_process_are_told(source: Path) -> None:
    for name in ("broken.jpg", "broken.png", "face.jpg"):
        source.with_name(name).write_text("picture")
    made = documents(8)
    made[1] = replace(made[1], images=("broken.jpg",))
    made[2] = replace(made[2], text="Poison")
    made[6] = replace(made[6], images=("broken.png", "face.jpg"))
    write_documents(source, [*made, Document("empty", "")])
    whole = run(source)
    source.with_name("out.jsonl").unlink()
    with pytest.raises(Killed):
        run(source, DyingLinker("d7"))
    summary = run(source, resume=True)
    assert summary.skips.counts == whole.skips.counts == {"picture cannot be read": 2, UNLINKED: 1, BAD: 1}
    assert summary.skips.summary() == whole.skips.summary()
    assert summary.counts == whole.counts and summary.counts["faces"] == 1


def test_only_the_same_is_gone_on_with(source: Path) -> None:
    with pytest.raises(Killed):
        run(source, DyingLinker("d5"))
    with pytest.raises(InputError, match="left unfinished.*--resume.*--restart"):
        run(source)
    with pytest.raises(InputError, match="was begun with model m1, this is m2.*--restart"):
        run(source, resume=True, about={"model": "m2"})
    with pytest.raises(InputError, match="was begun with knowledge base k1, this is k2"):
        run(source, resume=True, about={"knowledge base": "k2"})
    kept = source.read_text()
    write_documents(source, [Document("other", "Mira."), *documents(10)])
    with pytest.raises(InputError, match="is not what the first 4 documents.*the same input"):
        run(source, resume=True)
    write_documents(source, documents(2))
    with pytest.raises(InputError, match="is not what the first 4 documents"):
        run(source, resume=True)
    source.write_text(kept)
    assert run(source, resume=True).resumed == 4


def test_a_partial_file_can_be_dropped(source: Path) -> None:
    with pytest.raises(Killed):
        run(source, DyingLinker("d5"))
    with PartialOutput(source.with_name("out.jsonl"), {"model": "m2"}, restart=True) as output:
        assert score(FakeLinker(), RawInput(source), output, writer_for("out.jsonl")).documents == 10
    assert len(list(read_linked(source.with_name("out.jsonl")))) == 10


def test_a_finished_output_is_not_gone_on_with(source: Path) -> None:
    run(source)
    with pytest.raises(InputError, match="is finished.*leave out --resume"):
        run(source, resume=True)
    assert run(source).documents == 10


def test_a_shortened_partial_file_is_refused(source: Path) -> None:
    with pytest.raises(Killed):
        run(source, DyingLinker("d5"))
    os.truncate(source.with_name("out.jsonl.partial"), 10)
    with pytest.raises(InputError, match="has fewer bytes"):
        run(source, resume=True)


def test_two_processes_do_not_write_one_file(source: Path) -> None:
    with PartialOutput(source.with_name("out.jsonl"), ABOUT) as first:
        first.write([], "", {})
        for resume in (True, False):
            with pytest.raises(InputError, match="by another process"):
                PartialOutput(source.with_name("out.jsonl"), ABOUT, resume=resume, restart=not resume)


def test_a_full_disk_keeps_what_is_finished(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 6:  # of the third batch's documents; each batch syncs them and its note, the note stands first
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left.*8 documents that were finished stay.*--resume"):
        run(source)
    monkeypatch.undo()
    assert [one.document.id for one in read_linked(source.with_name("out.jsonl.partial"))] == [
        f"d{n}" for n in range(8)
    ]
    assert run(source, resume=True).resumed == 8


def test_a_place_that_cannot_be_written_is_named(source: Path) -> None:
    for out, message in ((source / "out.jsonl", "cannot be written"), (source.parent, "is a folder.*name a file")):
        with pytest.raises((OutputError, InputError), match=message):
            PartialOutput(out, ABOUT)


def test_memory_does_not_grow_with_documents(source: Path) -> None:
    """Between document 1,000 and 2,750: no more than the digests of the ids."""
    held: list[int] = []

    class Watched(RawInput):
        def __iter__(self) -> Iterator[Document]:
            for n, one in enumerate(super().__iter__()):
                if n in (1_000, 2_750):
                    held.append(tracemalloc.get_traced_memory()[0])
                yield one

    class Silent(FakeLinker):
        def link(self, documents: Any, pictures: Any = None, documents_per_batch: int = 64) -> Iterator[Any]:
            yield from super().link(documents, pictures, documents_per_batch)
            self.calls.clear()

    with open(source, "w") as stream:
        stream.writelines(json.dumps({"id": f"d{n}", "text": "Mira."}) + "\n" for n in range(3_000))
    tracemalloc.start()
    try:
        with PartialOutput(source.with_name("out.jsonl"), ABOUT) as output:
            score(Silent(), Watched(source), output, writer_for("out.jsonl"), ScoreSettings(batch=250))
    finally:
        tracemalloc.stop()
    assert held[1] - held[0] < 1_750 * 250


@pytest.mark.parametrize("settings", [{"batch": 0}, {"top_k": 0}])
def test_settings_are_checked(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ScoreSettings(**settings)
