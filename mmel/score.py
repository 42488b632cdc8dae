"""`python -m mmel.score INPUT --model RUN --out LINKED.jsonl`: link the names and faces of your own documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmel.cli import Parser, run
from mmel.errors import ConfigError, InputError

if TYPE_CHECKING:
    from mmel.linker import Linker
    from mmel.scoring.partial import PartialOutput

EXAMPLE = """
python -m mmel.score review.txt --model runs/films --out linked.jsonl
python -m mmel.score reviews/ --model runs/films --out linked.jsonl --report linked.html
python -m mmel.score documents.jsonl --model runs/films --out linked.jsonl --resume
"""
DESCRIPTION = """\
Find the names in texts and the faces in their pictures, and link them to the knowledge base of a trained model.

INPUT is a .txt or .md file; a folder with one text and its pictures; a folder of such folders, or of texts whose
pictures begin with the name of their text; or documents as .jsonl, with or without mentions."""


def main(argv: list[str]) -> int:
    """Link the documents of an input; returns the exit code, 1 where something was passed over."""
    values = _parser().parse_args(argv)
    from mmel.formats.linked import writer_for
    from mmel.formats.nif import ENTITY_BASE
    from mmel.scoring.inputs import InputSettings, RawInput
    from mmel.scoring.partial import PartialOutput
    from mmel.scoring.stream import ScoreSettings, score
    from mmel.training.run import RunFolder

    RunFolder(values.model).check_trained()
    _spare(values)
    settings, base = ScoreSettings(values.batch, values.top_k), values.entity_base or ENTITY_BASE
    writer = writer_for(values.out, values.format, base)
    if values.entity_base and writer.format != "nif":
        raise ConfigError(f"--entity-base is for uris of NIF, and the format is {writer.format}. Remedy: leave it out")
    raw = RawInput(values.input, InputSettings(values.pictures, values.allow_download, values.max_characters))
    report = _Report(values, raw.pictures) if values.report else None
    linker = _linker(values)
    about = _about(values, linker) | {"--format": writer.format, "--entity-base": base}
    with PartialOutput(values.out, about, head=writer.head, resume=values.resume, restart=values.restart) as output:
        if report and output.progress.documents and writer.format != "jsonl":
            raise ConfigError(
                f"--report shows the documents that were linked before, and --format {writer.format} does not hold "
                "them. Remedy: leave out --report, or give --restart"
            )
        with _told_what_stays(output):
            summary = score(linker, raw, output, writer, settings, report.add if report else lambda _: None)
    if report:
        summary.notes = [*summary.notes, *report.write(linker)]
    if values.json:
        print(json.dumps({"out": str(values.out), **summary.to_dict()}, indent=2, ensure_ascii=False))
    print(f"{summary.line()}: {values.out}", file=sys.stderr)
    for note in summary.notes:
        print(note, file=sys.stderr)
    summary.skips.print()
    return summary.skips.exit_code


def _spare(values: Any) -> None:
    """ConfigError where an output would take the place of the input, or of the other output; InputError of a folder."""
    from mmel.files import check_file

    taken = {values.input.resolve(): "the input"}
    for option, file in (("--out", values.out), ("--report", values.report)):
        if file is None:
            continue
        check_file(file)
        if whose := taken.get(file.resolve()):
            raise ConfigError(f"{option} {file}: is {whose}. Remedy: name another file")
        taken[file.resolve()] = f"what {option} writes"


@contextmanager
def _told_what_stays(output: PartialOutput) -> Iterator[None]:
    """Whoever interrupts a long command is told how to go on."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        if output.progress.documents:
            done = f"{output.progress.documents:,} documents stay in {output.file}"
            print(f"{done}; the same command with --resume goes on", file=sys.stderr)
        raise


def _parser() -> Parser:
    parser = Parser(prog="python -m mmel.score", description=DESCRIPTION, example=EXAMPLE)
    parser.add_argument("input", type=Path, metavar="INPUT", help="a text, a folder, or documents")
    parser.add_argument("--model", required=True, type=Path, metavar="RUN", help="run folder of python -m mmel.train")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="linked documents")
    parser.add_argument(
        "--format",
        choices=("jsonl", "nif", "elevant"),
        metavar="FORMAT",
        help="jsonl, nif or elevant; else by the name of FILE: .ttl is nif, .linked_articles.jsonl elevant",
    )
    parser.add_argument(
        "--entity-base", metavar="URI", help="what NIF puts before an entity's id: http://en.wikipedia.org/wiki/"
    )
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write a page that shows the links")
    parser.add_argument("--kb", type=Path, metavar="KB", help="another copy of the model's knowledge base")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder that all pictures must be in, and that those of .jsonl are relative to; else INPUT's own",
    )
    parser.add_argument(
        "--kb-pictures", type=Path, metavar="DIR", help="folder of the entities' pictures; else that of the training"
    )
    parser.add_argument("--top-k", type=int, default=5, metavar="N", help="candidates kept of each mention (5)")
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="documents linked together (64)")
    parser.add_argument("--workers", type=int, metavar="N", help="processor threads; else one a core")
    parser.add_argument(
        "--max-characters", type=int, default=200_000, metavar="N", help="refuse longer documents (200000)"
    )
    parser.add_argument("--allow-download", action="store_true", help="fetch pictures that are named by a URL")
    parser.add_argument("--resume", action="store_true", help="go on with what a killed command left")
    parser.add_argument("--restart", action="store_true", help="drop what a killed command left")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON to stdout")
    return parser


class _Report:
    """The page of what is scored, and the folders of its pictures."""

    def __init__(self, values: Any, pictures: Path) -> None:
        from mmel.report import DocumentReport

        self._report, self._values, self._pictures = DocumentReport(), values, pictures
        self.add = self._report.add

    def write(self, linker: Linker) -> list[str]:
        """Write the page; a note on what it cannot show, for what is linked does not depend on it.

        Raises OutputError where the page cannot be written.
        """
        from mmel.errors import SkipReport
        from mmel.report import kb_cards, trained_pictures
        from mmel.scoring.partial import OutputError

        skips = SkipReport()
        folder = self._values.kb_pictures or trained_pictures(self._values.model, partial(print, file=sys.stderr))
        cards = kb_cards(linker.kb, folder)
        model, source = self._values.model.resolve().name, self._values.input.resolve().name
        page = self._values.report
        try:
            self._report.write(page, cards, self._pictures, title=source, protocol=f"linked by {model}", skips=skips)
        except OSError as error:
            raise OutputError(
                f"--report {page}: cannot be written ({error.strerror}); the linked documents are in "
                f"{self._values.out}. Remedy: name a file in a folder that has room"
            ) from error
        return [f"{count:,} x {reason}: {skips.examples[reason][0]}" for reason, count in skips.counts.items()]


def _linker(values: Any) -> Linker:
    import torch

    from mmel.kb import KnowledgeBase
    from mmel.linker import Linker

    if values.workers is not None:
        if values.workers < 1:
            raise ConfigError(f"--workers {values.workers}: must be at least 1")
        torch.set_num_threads(values.workers)
    return Linker.from_pretrained(values.model, None if values.kb is None else KnowledgeBase.open(values.kb))


def _about(values: Any, linker: Linker) -> dict[str, Any]:
    """What the output depends on besides the documents, by the name that an error gives it."""
    from mmel import __version__
    from mmel.training.run import RunFolder

    return {
        "mmel": __version__,
        "model": RunFolder(values.model).digest()[:16],
        "knowledge base": linker.kb.meta.content_hash[:16],
        "--top-k": values.top_k,
        "--batch": values.batch,
    }


if __name__ == "__main__":
    run(main)
