"""Linked documents on their way to a file: what is finished stays, whatever ends the program, to be gone on with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from mmel.errors import InputError, MmelError
from mmel.files import read_json, write_json

_RESTART = "--restart to begin anew"


class OutputError(MmelError):
    """The output cannot be written; what was finished before stays."""


@dataclass
class Progress:
    """How far an output is.

    Attributes:
        about: what the documents are linked by; an output is gone on with by the same only.
        documents, bytes: written, whole batches of them. read: digest of the documents so far, as they were read.
        state: what else the writer wants to know when it goes on.
    """

    about: Mapping[str, Any]
    documents: int = 0
    bytes: int = 0
    read: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)


class PartialOutput:
    """Writes linked documents to `OUT.partial`, which becomes `OUT` when all are there.

    Beside it `OUT.progress` says how much of it is whole; it is written after the documents it speaks of have reached
    the disk, so that a kill at any moment loses at most the batch in flight.

    Args:
        about: see Progress. head: what the file begins with.
        resume: go on with what an earlier process left; from the beginning where it left nothing.
        restart: drop what it left.

    Raises:
        InputError: an unfinished output is there and neither is wanted; it was made by something else than `about`;
            the output is finished already (with `resume`); another process writes it.
        OutputError: it cannot be written.
    """

    def __init__(
        self, out: Path, about: Mapping[str, Any], *, head: bytes = b"", resume: bool = False, restart: bool = False
    ) -> None:
        self.out, self._head = out, head
        self.file, self._note = out.with_name(f"{out.name}.partial"), out.with_name(f"{out.name}.progress")
        if out.is_dir():
            raise InputError("is a folder", file=out, remedy="name a file")
        if self.file.exists() and not (resume or restart):
            raise InputError(
                "is what an earlier command has left unfinished",
                file=self.file,
                remedy=f"--resume to go on with it, or {_RESTART}",
            )
        if resume and out.exists() and not self.file.exists():
            raise InputError(
                "is finished, there is nothing to go on with", file=out, remedy="leave out --resume to score anew"
            )
        self.progress = Progress(about)
        # A kill between the making of the two leaves an empty file without its note.
        if resume and self.file.exists() and self._note.exists():
            self.progress = self._left(about)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.file, "ab")
        except OSError as error:
            raise self._failed(error) from error
        self._begin()

    def _begin(self) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._stream.close()
            raise InputError(
                "is being written by another process", file=self.file, remedy="wait for it, or name another --out"
            ) from error
        try:
            self._stream.truncate(self.progress.bytes)
            write_json(self._note, asdict(self.progress))
        except OSError as error:
            raise self._failed(error) from error

    def _left(self, about: Mapping[str, Any]) -> Progress:
        remedy = f"{_RESTART}, or name another --out"
        found = Progress(**read_json(self._note, remedy))
        for name, value in about.items():
            if found.about.get(name) != value:
                raise InputError(
                    f"was begun with {name} {found.about.get(name)}, this is {value}",
                    file=self.file,
                    remedy=f"give the same to go on, {remedy}",
                )
        if self.file.stat().st_size < found.bytes:
            raise InputError(
                f"has fewer bytes than the {found.bytes:,} that were written", file=self.file, remedy=remedy
            )
        return found

    def write(self, documents: Sequence[bytes], read: str, state: Mapping[str, Any]) -> None:
        """Add a batch of documents as the file has them; when this returns it stays. read, state: see Progress."""
        data = b"".join([b"" if self.progress.bytes else self._head, *documents])
        now = Progress(
            self.progress.about, self.progress.documents + len(documents), self.progress.bytes + len(data), read, state
        )
        try:
            self._stream.write(data)
            self._stream.flush()
            os.fsync(self._stream.fileno())
            write_json(self._note, asdict(now))
        except OSError as error:
            raise self._failed(error) from error
        self.progress = now

    def finish(self) -> None:
        """Give the output its name."""
        try:
            os.replace(self.file, self.out)
            self._note.unlink()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> PartialOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stream.close()
        except OSError:  # the rest of a batch that did not fit; `write` has said so
            if error is None:
                raise
        if self.file.exists() and self.progress.documents:
            # No torn line: whoever reads the file finds whole documents.
            os.truncate(self.file, self.progress.bytes)
        elif self.file.exists():
            self.file.unlink()
            self._note.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> OutputError:
        count = self.progress.documents
        done = f"; the {count:,} documents that were finished stay in {self.file}" if count else ""
        return OutputError(
            f"{self.out}: cannot be written ({error.strerror}){done}. Remedy: make room there, then give the same "
            "command with --resume"
        )
