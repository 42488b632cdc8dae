"""`python -m mmel.data`: list the datasets, check a folder that holds one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmel.cli import Parser, run
from mmel.datasets import dataset_names, open_dataset
from mmel.datasets.card import Card, read_card
from mmel.datasets.check import RECALL_AT, CheckReport, check


def main(argv: list[str]) -> int:
    """`list` or `check`; the exit code is 1 where a check found something."""
    arguments = _parser().parse_args(argv)
    return _list(arguments) if arguments.command == "list" else _check(arguments)


def _parser() -> Parser:
    parser = Parser(
        prog="mmel data",
        description="List the datasets that mmel reads, or check a folder that holds one.",
        example="""
            mmel data list
            mmel data check msnbc --root DIR
        """,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|check")
    listing = commands.add_parser(
        "list",
        help="the datasets with their counts and where to get them",
        description="The datasets with their counts and where to get them; of one, also what its folder must hold.",
        example="mmel data list --json",
    )
    listing.add_argument("name", nargs="?", choices=dataset_names(), metavar="NAME", help="one of them; else all")
    checking = commands.add_parser(
        "check",
        help="read a dataset, print counts, recall and prior accuracy, compare with its card",
        description="Read all of a dataset, print counts, candidate recall and prior accuracy, compare with its card. "
        "The exit code is 1 where a split is broken, something is not as the card says, an id stands twice or a record "
        "was passed over; what is irregular and was kept, and files that nothing reads, are told and are no failure.",
        example="mmel data check aida --root DIR --json",
    )
    checking.add_argument("name", metavar="NAME", help="a dataset of `mmel data list`")
    checking.add_argument("--root", type=Path, metavar="DIR", help="folder that holds it (none for the sample)")
    for command in (listing, checking):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    cards = [read_card(name) for name in ([arguments.name] if arguments.name else dataset_names())]
    if arguments.json:
        records = [card.model_dump(exclude_none=True) for card in cards]
        print(json.dumps({"datasets": records}, ensure_ascii=False, indent=2))
        return 0
    width = max(map(len, dataset_names())) + 1
    for card in cards:
        print(f"{card.name:<{width}}{card.title}")
        told = list(_counts(card))
        if arguments.name is not None:
            told = [card.task.strip(), *told, *(f"{path}: {what}" for path, what in card.layout.items())]
        for line in (*told, f"get it: {card.get.strip()}"):
            print(f"{'':{width}}{line}")
    return 0


def _counts(card: Card) -> Iterator[str]:
    """A line for each split that something is known of, and one for those of a form of which nothing is."""
    for form, splits in (card.forms or {"": card.splits}).items():
        unknown = []
        for split, counts in splits.items():
            sizes = {"documents": counts.documents, "mentions": counts.mentions, "pictures": counts.visual}
            if known := ", ".join(f"{n:,} {what}" for what, n in sizes.items() if n):
                yield f"{f'{form} {split}'.strip():<12} {known}"
            else:
                unknown.append(split)
        if unknown:
            yield f"{form} {', '.join(unknown)}: counts not known".strip()


def _check(arguments: argparse.Namespace) -> int:
    report = check(open_dataset(arguments.name, arguments.root))
    if arguments.json:
        print(json.dumps(_record(report), ensure_ascii=False, indent=2))
    else:
        _print(report)
    report.skips.print()
    return 0 if report.ok else 1


def _record(report: CheckReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "protocol": report.protocol,
        "entities": report.entities,
        "gallery": report.gallery,
        "splits": report.splits,
        "broken": report.broken,
        "absent": report.absent,
        "mismatches": report.mismatches,
        "skips": dict(report.skips.counts),
        "noted": dict(report.skips.noted),
        "ok": report.ok,
    }


def _print(report: CheckReport) -> None:
    print(f"{report.name}: {report.entities:,} entities, candidates: {report.protocol}")
    if any(counts["mentions"] for counts in report.splits.values()):
        _print_texts(report)
    if any(
        counts["pictures"]["pictures"] + counts["pictures"]["pictures_missing"] for counts in report.splits.values()
    ):
        _print_pictures(report)
    _print_consistency(report)
    for split, fault in report.broken.items():
        print(f"{split}: broken, {fault}")
    for split in report.absent:
        print(f"{split}: not in the folder")
    for line in report.mismatches:
        print(f"mismatch: {line}")
    if not report.mismatches:
        less = "; records were passed over" * bool(report.skips.counts) + "; splits are broken" * bool(report.broken)
        print(f"nothing differs from what the card gives{less}")


def _print_texts(report: CheckReport) -> None:
    recalls = [f"R@{k}" for k in RECALL_AT]
    rows = [["split", "documents", "mentions", "linked", "NIL", "no label", *recalls, "R@all"]]
    for split, counts in report.splits.items():
        numbers = [counts[name] for name in ("documents", "mentions", "linked", "nil", "unlabelled")]
        rates = [*counts["recall_at"].values(), counts["candidate_recall"]]
        rows.append(
            [split, *(f"{n:,}" for n in numbers), *("-" if rate is None else f"{100 * rate:.2f}" for rate in rates)]
        )
    _print_table(rows)
    print("R@k: gold among the first k candidates by prior, % of the linked text mentions; R@1 is the prior alone")


def _print_pictures(report: CheckReport) -> None:
    heading = "split|documents|pictures|missing|regions|linked|NIL|no label|in gallery|empty box|box beyond"
    rows = [heading.split("|")]
    for split, counts in report.splits.items():
        rows.append([split, f"{counts['documents']:,}", *(f"{number:,}" for number in counts["pictures"].values())])
    _print_table(rows)
    counts = report.gallery
    print(
        f"gallery: {counts['entities']:,} entities with {counts['pictures']:,} pictures; "
        f"{counts['pictures_missing']:,} pictures missing, {counts['without_picture']:,} entities without one"
    )


def _print_consistency(report: CheckReport) -> None:
    """One row a split that has something; the examples stand among what was kept."""
    heading = "split|gold no entity|gold not listed|candidates no entity|texts of earlier splits|ids twice"
    rows = [heading.split("|")]
    for split, counts in report.splits.items():
        if any(counts["consistency"].values()):
            numbers = counts["consistency"].values()
            rows.append([split, *("-" if number is None else f"{number:,}" for number in numbers)])
    if len(rows) > 1:
        _print_table(rows)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(len(first)), *others]))


if __name__ == "__main__":
    run(main)
