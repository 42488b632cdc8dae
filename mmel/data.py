"""`python -m mmel.data`: list the datasets, check a folder that holds one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmel.cli import Parser, run
from mmel.datasets import dataset_names, open_dataset
from mmel.datasets.card import read_card
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
        description="The datasets with their counts and where to get them.",
        example="mmel data list --json",
    )
    checking = commands.add_parser(
        "check",
        help="read a dataset, print counts, recall and prior accuracy, compare with its card",
        description="Read all of a dataset, print counts, candidate recall and prior accuracy, compare with its card. "
        "The exit code is 1 where something is not as the card says, an id stands twice or a record was passed over; "
        "what is irregular and was kept is told and is no failure.",
        example="mmel data check aida --root DIR --json",
    )
    checking.add_argument("name", metavar="NAME", help="a dataset of `mmel data list`")
    checking.add_argument("--root", type=Path, metavar="DIR", help="folder that holds it (none for the sample)")
    for command in (listing, checking):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    cards = [read_card(name) for name in dataset_names()]
    if arguments.json:
        records = [card.model_dump(exclude_none=True) for card in cards]
        print(json.dumps({"datasets": records}, ensure_ascii=False, indent=2))
        return 0
    for card in cards:
        print(f"{card.name:<10} {card.title}")
        for form, splits in (card.forms or {"": card.splits}).items():
            for split, counts in splits.items():
                known = {"documents": counts.documents, "mentions": counts.mentions, "pictures": counts.visual}
                name = f"{form} {split}".strip()
                print(f"           {name:<12} " + ", ".join(f"{n:,} {what}" for what, n in known.items() if n))
        print(f"           get it: {card.get.strip()}")
    return 0


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
    for split in report.absent:
        print(f"{split}: not in the folder")
    for line in report.mismatches:
        print(f"mismatch: {line}")
    if not report.mismatches:
        print("nothing differs from what the card gives" + "; records were passed over" * bool(report.skips.counts))


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
