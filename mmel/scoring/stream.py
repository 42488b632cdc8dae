"""From raw documents to a file of linked ones: batch by batch, in memory that does not grow with their number."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mmel.document import NIL, Document, LinkedDocument
from mmel.errors import ConfigError, InputError, SkipReport
from mmel.formats.jsonl import document_record, read_linked
from mmel.formats.linked import LinkedWriter
from mmel.progress import progress
from mmel.scoring.inputs import RawInput
from mmel.scoring.partial import PartialOutput

T = TypeVar("T")
UNLINKED, UNWRITTEN = "document cannot be linked", "format cannot say the document"
_CHARACTERS = 500_000  # of a batch; what is held of a text is some hundred times as large


class Scorer(Protocol):
    """What is asked of a `mmel.linker.Linker`."""

    @property
    def skips(self) -> SkipReport: ...

    def annotate(self, documents: Iterable[Document], pictures: Path | None = None) -> Iterator[Document]: ...

    def link(
        self, documents: Iterable[Document], pictures: Path | None = None, documents_per_batch: int = 64
    ) -> Iterator[LinkedDocument]: ...


@dataclass(frozen=True)
class ScoreSettings:
    """How documents are scored.

    Attributes:
        batch: documents linked together, less where they are long.
        top_k: candidates kept of each link.
    """

    batch: int = 64
    top_k: int = 5

    def __post_init__(self) -> None:
        for name in ("batch", "top_k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 1")


@dataclass
class Summary:
    """What became of an input.

    Attributes:
        documents: linked, `resumed` of them by an earlier process. counts: of `names` and `faces`, and of those that
            are NIL. seconds: of this process. skips: what was passed over. notes: see RawInput.
    """

    documents: int = 0
    resumed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    skips: SkipReport = field(default_factory=SkipReport)
    notes: Sequence[str] = ()

    def add(self, linked: LinkedDocument) -> None:
        """Count a document."""
        self.documents += 1
        for kind, links in (("names", linked.text_links), ("faces", linked.visual_links)):
            self.counts[kind] += len(links)
            self.counts[f"nil_{kind}"] += sum(link.entity == NIL for link in links)

    @property
    def documents_per_second(self) -> float:
        return (self.documents - self.resumed) / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "documents": self.documents,
            "resumed": self.resumed,
            **{kind: {"linked": self.counts[kind], "nil": self.counts[f"nil_{kind}"]} for kind in ("names", "faces")},
            "skipped": dict(self.skips.counts),
            "notes": list(self.notes),
            "seconds": self.seconds,
            "documents_per_second": self.documents_per_second,
        }

    def line(self) -> str:
        """One line for people."""
        told = [
            f"{_number(self.counts[kind], kind)} ({self.counts[f'nil_{kind}']:,} NIL)"
            for kind in ("names", "faces")
            if self.counts[kind]
        ]
        before = f", {self.resumed:,} of them before" if self.resumed else ""
        speed = f"{self.seconds:.1f} s, {self.documents_per_second:.1f} documents/s"
        return f"{_number(self.documents, 'documents')}{before}: {', '.join(told) or 'no mention'}; {speed}"


def _number(count: int, of: str) -> str:
    return f"{count:,} {of.removesuffix('s') if count == 1 else of}"


def score(
    linker: Scorer,
    raw: RawInput,
    output: PartialOutput,
    writer: LinkedWriter,
    settings: ScoreSettings | None = None,
    tell: Callable[[LinkedDocument], object] = lambda _: None,
) -> Summary:
    """Link every document of an input and write it; mentions are detected in those that bring none.

    A document that cannot be linked is counted and the others go on, unless not one can. Documents that `output` holds
    from an earlier process are read again, to be sure that they are the same, and not linked again.

    Args:
        writer: of the output's format. tell: is given each document when it is written, those of an earlier process
            first; these have what a file of JSON lines keeps of them.

    Raises:
        InputError: no document could be read or linked, or the input is another than that of the output's beginning.
        OutputError: the output cannot be written; `PartialOutput` says what stays.
    """
    run = _Run(linker, raw, output, writer, settings or ScoreSettings(), tell)
    started = time.perf_counter()
    for batch in run.batches():
        run.write(batch)
    run.summary.seconds = time.perf_counter() - started
    if not run.seen:
        raw.skips.print()
        raise InputError("holds no document that can be read", file=raw.path, remedy="see --help for what is read")
    output.finish()
    run.summary.skips = run.skips()
    run.summary.skips.update(raw.skips)
    run.summary.notes = raw.notes.lines()
    return run.summary


class _Run:
    """The state of `score`: `seen` documents were drawn, `read` is the digest of them."""

    def __init__(
        self,
        linker: Scorer,
        raw: RawInput,
        output: PartialOutput,
        writer: LinkedWriter,
        settings: ScoreSettings,
        tell: Callable[[LinkedDocument], object],
    ) -> None:
        self.linker, self.raw, self.output, self.writer = linker, raw, output, writer
        self.settings, self.tell = settings, tell
        self.seen, self.read = 0, ""
        self.summary, self._before, self._passed_over = Summary(), SkipReport(), SkipReport()
        self._source = iter(raw)

    def batches(self) -> Iterator[list[Document]]:
        """The documents that are not written yet, in batches whose bounds do not depend on where it was begun."""
        self._go_on()
        total = self.raw.count()
        source = progress(self._source, "scoring", max(total, self.seen), "document", self.seen)
        batch: list[Document] = []
        held = 0
        for document in source:
            batch.append(document)
            held += len(document.text)
            if len(batch) == self.settings.batch or held >= _CHARACTERS:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def write(self, batch: Sequence[Document]) -> None:
        """Annotate, link and write a batch."""
        for document in batch:
            self._digest(document)
        pictures = self.raw.pictures
        annotated = self._each(batch, lambda part: list(self.linker.annotate(part, pictures)))
        linked = self._each(
            annotated, lambda part: list(self.linker.link(part, pictures, documents_per_batch=self.settings.batch))
        )
        kept: list[LinkedDocument] = []
        written: list[bytes] = []
        for one in map(self._cut, linked):
            try:
                written.append(self.writer.encode(one, self.summary.documents + len(written)))
                kept.append(one)
            except InputError as error:
                self._passed_over.add(UNWRITTEN, f"document '{one.document.id}': {error}")
        for one in kept:
            self.summary.add(one)
        self.output.write(written, self.read, self._state())
        for one in kept:
            self.tell(one)

    def skips(self) -> SkipReport:
        """What was passed over after reading, by this process and those before it."""
        total = SkipReport()
        for part in (self._before, self._passed_over, self.linker.skips):
            total.update(part)
        return total

    def _state(self) -> Mapping[str, Any]:
        skips = self.skips()
        return {
            "seen": self.seen,
            "counts": dict(self.summary.counts),
            "skipped": {"counts": dict(skips.counts), "examples": skips.examples},
        }

    def _go_on(self) -> None:
        """Take up what an earlier process left."""
        left = self.output.progress
        if not left.state:
            return
        if self.writer.format == "jsonl":
            for linked in read_linked(self.output.file):
                self.tell(linked)
        for document in islice(self._source, left.state["seen"]):
            self._digest(document)
        if self.read != left.read:
            raise InputError(
                f"is not what the first {left.documents:,} documents of {self.output.file} were made of",
                file=self.raw.path,
                remedy="give the same input to go on, or --restart to begin anew",
            )
        self.summary.documents = self.summary.resumed = left.documents
        self.summary.counts = Counter(left.state["counts"])
        self._before.counts.update(left.state["skipped"]["counts"])
        self._before.examples = dict(left.state["skipped"]["examples"])

    def _digest(self, document: Document) -> None:
        content = json.dumps(document_record(document), sort_keys=True, default=str)
        self.read = hashlib.sha256(f"{self.read}{content}".encode("utf-8", "surrogatepass")).hexdigest()
        self.seen += 1

    def _each(self, documents: Sequence[Document], step: Callable[[Sequence[Document]], list[T]]) -> list[T]:
        """What `step` makes of the documents; where it raises, of each by itself, and what raises again is counted."""
        try:
            return step(documents)
        except InputError as error:
            first = error
        done: list[T] = []
        failed: list[tuple[str, InputError]] = []
        for document in documents:
            try:
                done += step([document])
            except InputError as problem:
                failed.append((document.id, problem))
        if not done and not self.summary.documents and len(documents) > 1:
            raise first  # of the linker more likely than of every document
        for id, why in failed:
            self._passed_over.add(UNLINKED, f"document '{id}': {why}")
        return done

    def _cut(self, linked: LinkedDocument) -> LinkedDocument:
        """With the best candidates of each link only, and NIL if it is one."""
        text, visual = (
            tuple(link.cut(self.settings.top_k) for link in links) for links in (linked.text_links, linked.visual_links)
        )
        return replace(linked, text_links=text, visual_links=visual)
