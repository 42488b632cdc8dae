"""`python -m mmel.evaluate --model RUN --dataset NAME --root DIR --split SPLIT`: score a trained linker."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmel.cli import Parser, run

if TYPE_CHECKING:
    from argparse import Namespace

    from mmel.datasets import Dataset
    from mmel.document import Document, LinkedDocument
    from mmel.evaluation.spans import EndToEnd
    from mmel.kb import KnowledgeBase
    from mmel.linker import Linker

EXAMPLE = """
python -m mmel.evaluate --model runs/sample-0 --dataset sample --split test
python -m mmel.evaluate --model runs/aida-0 --dataset aida --root DATA/aida --split testa --json testa.json
python -m mmel.evaluate --model runs/faces --dataset movies --root DATA/movies --split val --report val.html
python -m mmel.evaluate --model runs/films --dataset movies --root DATA/movies --split val --from-text
python -m mmel.evaluate --model runs/films --dataset movies --root DATA/movies --split val --nil --hide 0.2
python -m mmel.evaluate --model runs/m3el --dataset m3el-mtmt --root DATA/m3el --split val --tasks --swap-pictures 0
"""


def main(argv: list[str]) -> int:
    """Link one split of a dataset and print its scores with their protocol; returns the exit code."""
    parser = Parser(prog="python -m mmel.evaluate", description="Score a trained linker on a dataset.", example=EXAMPLE)
    parser.add_argument("--model", required=True, type=Path, metavar="RUN", help="run folder of python -m mmel.train")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="a name of python -m mmel.data list")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the dataset; none for the sample")
    parser.add_argument("--split", required=True, metavar="SPLIT", help="which documents")
    parser.add_argument("--kb", type=Path, metavar="KB", help="another copy of the model's knowledge base")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write the scores as JSON (alone: to stdout)"
    )
    parser.add_argument(
        "--from-text",
        action="store_true",
        help="also find the mentions in raw texts and whole pictures, and score finding, linking, and both",
    )
    parser.add_argument(
        "--nil", action="store_true", help="decide between entity and NIL, and score NIL as any other answer"
    )
    parser.add_argument(
        "--hide",
        type=float,
        metavar="SHARE",
        help="link to the knowledge base without this share of its entities; their mentions count as NIL",
    )
    parser.add_argument("--hide-seed", type=int, default=0, metavar="N", help="of the draw of --hide (default 0)")
    parser.add_argument(
        "--tasks",
        action="store_true",
        help="also score the nine tasks T, I, I+T -> T, I, I+T: textual mentions and their candidates with only their "
        "texts, only their pictures, or both",
    )
    parser.add_argument(
        "--swap-pictures",
        type=int,
        metavar="SEED",
        help="give every document with pictures those of an unrelated one first, to see what wrong pictures cost",
    )
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write a page that shows every link")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the linked documents as JSON lines")
    values = parser.parse_args(argv)
    from mmel.datasets import open_dataset
    from mmel.datasets.knowledge import dataset_kb
    from mmel.errors import ConfigError
    from mmel.files import check_file
    from mmel.kb import KnowledgeBase
    from mmel.training.run import RunFolder

    RunFolder(values.model).check_trained()
    for file in filter(None, (values.report, values.out, values.json)):
        check_file(Path(file))
    dataset = open_dataset(values.dataset, values.root)
    if values.from_text and dataset.candidate_protocol != "kb":
        raise ConfigError(
            f"--from-text: the mentions of '{dataset.name}' bring their candidates ({dataset.candidate_protocol}), and "
            "one that is found has none. Remedy: take a dataset whose candidates are the names of its knowledge base"
        )
    kb = dataset_kb(dataset) if values.kb is None else KnowledgeBase.open(values.kb)
    if values.hide is None:
        return _evaluate(values, dataset, kb)
    if not 0 < values.hide < 1:
        raise ConfigError(f"--hide {values.hide:g}: it is a share of the entities, between 0 and 1")
    from mmel.kb.hide import hidden_base

    with hidden_base(kb, values.hide, values.hide_seed) as smaller:
        return _evaluate(values, dataset, smaller)


def _evaluate(values: Namespace, dataset: Dataset, kb: KnowledgeBase) -> int:
    from mmel.errors import ConfigError, SkipReport
    from mmel.evaluation.protocol import Protocol, evaluate
    from mmel.evaluation.tasks import evaluate_tasks
    from mmel.formats.jsonl import write_linked
    from mmel.kb.hide import hidden_golds
    from mmel.pictures.swap import swap_pictures
    from mmel.text.modalities import FULL
    from mmel.training.run import RunFolder

    skips = SkipReport()
    pictures = dataset.pictures if RunFolder(values.model).reads_pictures else None
    swapped = values.swap_pictures
    if swapped is not None and pictures is None:
        raise ConfigError(f"--swap-pictures: {values.model} reads no pictures. Remedy: leave --swap-pictures out")
    documents = list(dataset.documents(values.split, skips))  # a wrong split is said before the model is opened
    linker = _open(values, dataset, kb, pictures)
    if swapped is not None:
        documents = swap_pictures(documents, swapped)
    candidates = linker.candidate_source(dataset.candidate_protocol)
    if values.hide is not None:
        documents = [hidden_golds(document, kb) for document in documents]
        candidates += f" without {values.hide:g} of its entities (seed {values.hide_seed})"
    started = time.perf_counter()
    linked = list(_watched(linker, documents, len(documents), pictures, values.nil))
    seconds = time.perf_counter() - started
    protocol = Protocol(
        candidates,
        nil="scored" if values.nil else "ignored",
        missing_images=linker.missing_images,
        pictures="own" if swapped is None else f"of unrelated documents (seed {swapped})",
        tasks=FULL if values.tasks else "",
    )
    result = evaluate(
        linked,
        dataset=dataset.name,
        split=values.split,
        protocol=protocol,
        seconds=seconds,
        entities=dataset.choice(linker.choice),
    )
    notes = list(_notes(linker))
    if values.tasks and linker.text is not None:
        result = replace(result, tasks=evaluate_tasks(linker.text, documents, pictures))
    if values.from_text:
        result = replace(result, end_to_end=_from_text(linker, linked, dataset, pictures, values.nil))
    if values.out:
        write_linked(values.out, linked)
    if values.report:
        from mmel.report.evaluation import write_report

        title = f"{dataset.name} {values.split}: {values.model.resolve().name}"
        heading, certainty = " · ".join(result.heading()), result.certainty
        write_report(values.report, linked, kb, dataset.pictures, title=title, protocol=heading, certainty=certainty)
    if values.json == "-":
        print(json.dumps(result.to_dict(), indent=2))
    else:
        if values.json:
            result.save(values.json)
        print(result.table())
    for note in notes:
        print(note, file=sys.stderr)
    skips.update(linker.skips)
    skips.print()
    return skips.exit_code


def _open(values: Namespace, dataset: Dataset, kb: KnowledgeBase, pictures: Path | None) -> Linker:
    from mmel.errors import ConfigError
    from mmel.linker import Linker

    # Candidates of the dataset's own come with their titles and links: any base that has them serves.
    check = dataset.candidate_protocol == "kb" and values.hide is None
    linker = Linker.from_pretrained(values.model, kb, check_kb=check, pictures=pictures, keep_documents=True)
    if values.nil and linker.confidence is None:
        raise ConfigError(
            f"--nil: {values.model} has learned no NIL. Remedy: train it with confidence.hide=0.2 on a dataset whose "
            "candidates are the names of its knowledge base, or leave --nil out"
        )
    return linker


def _watched(
    linker: Linker, documents: Iterable[Document], total: int, pictures: Path | None, nil: bool
) -> Iterator[LinkedDocument]:
    from mmel.progress import progress

    return progress(linker.link(documents, pictures, nil=nil), "linking", total, "document")


def _from_text(
    linker: Linker, given: list[LinkedDocument], dataset: Dataset, pictures: Path | None, nil: bool
) -> EndToEnd:
    """Find and link the mentions of the same documents without their gold."""
    from mmel.evaluation.spans import evaluate_ends, without_gold

    raw = [without_gold(one.document) for one in given]
    started = time.perf_counter()
    found = list(_watched(linker, linker.annotate(raw, pictures), len(raw), pictures, nil))
    seconds = time.perf_counter() - started
    return evaluate_ends(given, found, distant=dataset.card.distant, seconds=seconds)


def _notes(linker: Linker) -> Iterator[str]:
    """What became of documents and pictures so far."""
    if linker.coupler:
        told = ", ".join(f"{count:,} {reason}" for reason, count in linker.coupler.counts.items())
        yield f"{linker.coupler.coupled:,} documents coupled{'; ' * bool(told)}{told}"
    if linker.visual:
        for reason, count in linker.visual.faceless.items():
            yield f"{count:,} x {reason}"


if __name__ == "__main__":
    run(main)
