"""`python -m mmel.kb build | add | get | lookup | search | stats`: make a knowledge base and look into it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmel.cli import Parser, run
from mmel.errors import ConfigError, SkipReport

if TYPE_CHECKING:
    from mmel.kb.store import KnowledgeBase


def main(argv: list[str]) -> int:
    """Run one command; exit code 1 when records were skipped."""
    parser = Parser(
        prog="mmel kb",
        description="Build a knowledge base from records, add to it, and look into it.",
        example="""
            python -m mmel.kb build --entities kb.jsonl --out my-kb
            python -m mmel.kb lookup "Paris" --kb my-kb
        """,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _build_parser(commands)
    _add_parser(commands)
    _get_parser(commands)
    _lookup_parser(commands)
    _search_parser(commands)
    _stats_parser(commands)
    arguments = parser.parse_args(argv)
    return int(arguments.run(arguments))


def _command(commands: Any, name: str, help: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help, example=example)
    parser.set_defaults(run=globals()[f"_{name}"])
    if name != "build":
        # `add` may say --out as `build` does.
        options = ["--kb", "--out"] if name == "add" else ["--kb"]
        parser.add_argument(*options, dest="kb", required=True, type=Path, metavar="DIR", help="the base's folder")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    return parser


def _build_parser(commands: Any) -> None:
    parser = _command(
        commands,
        "build",
        "Build a knowledge base; one that is there is replaced when all is done.",
        """
        python -m mmel.kb build --entities kb.jsonl --out my-kb --source "my catalogue" --date 2026-01-31
        python -m mmel.kb build --entities kb.jsonl --out my-kb --prior wikipedia=p_e_m.txt --prior yago=yago.tsv
        """,
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the knowledge base")
    _entities_arguments(parser)
    parser.add_argument("--name", default="", help="its name (default: the folder's)")
    parser.add_argument("--source", default="", help="where the records come from")
    parser.add_argument(
        "--prior",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a prior dictionary, averaged with the aliases' counts; may be given several times. Lines are "
        "'surface TAB entity TAB count' or 'surface TAB total TAB id,count,title TAB ...'",
    )


def _entities_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entities", required=True, type=Path, metavar="FILE", help="records, one JSON object a line")
    parser.add_argument("--date", type=_date, help="date of the records, YYYY-MM-DD (default: today)")
    parser.add_argument("--skip-bad", action="store_true", help="count and pass over broken lines, then exit with 1")


def _build(arguments: argparse.Namespace) -> int:
    from mmel.formats.jsonl import read_entities
    from mmel.kb.build import build

    skips = SkipReport() if arguments.skip_bad else None
    meta = build(
        read_entities(arguments.entities, skips),
        arguments.out,
        name=arguments.name,
        date=arguments.date,
        source=arguments.source or arguments.entities.name,
        priors=_priors(arguments.prior),
    )
    if arguments.json:
        _print_json([meta.to_dict()])
    else:
        print(
            f"{arguments.out}: {meta.entities:,} entities, {meta.surfaces:,} surfaces, {meta.links:,} links, "
            f"hash {meta.content_hash[:12]}"
        )
    if meta.dangling_links:
        print(f"{meta.dangling_links:,} links lead to ids that have no record", file=sys.stderr)
    for prior in meta.priors:
        if prior.unknown:
            print(f"{prior.name}: {prior.unknown:,} of {prior.pairs:,} pairs name no entity", file=sys.stderr)
    return _report(skips)


def _priors(words: Sequence[str]) -> dict[str, Path]:
    priors: dict[str, Path] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (name and equals and file) or name in priors:
            reason = f"names '{name}' twice" if name in priors else "is not NAME=FILE"
            raise ConfigError(f"--prior: '{word}' {reason}. Remedy: --prior wikipedia=p_e_m.txt --prior yago=yago.tsv")
        priors[name] = Path(file)
    return priors


def _report(skips: SkipReport | None) -> int:
    if skips is None:
        return 0
    skips.print()
    return skips.exit_code


def _add_parser(commands: Any) -> None:
    parser = _command(
        commands,
        "add",
        "Add records to a knowledge base; one whose id is there is replaced.",
        "python -m mmel.kb add --entities few.jsonl --kb my-kb",
    )
    _entities_arguments(parser)


def _add(arguments: argparse.Namespace) -> int:
    from mmel.formats.jsonl import read_entities
    from mmel.kb.update import add

    skips = SkipReport() if arguments.skip_bad else None
    added = add(read_entities(arguments.entities, skips), arguments.kb, date=arguments.date)
    counts = {"new": added.new, "updated": added.updated, "unchanged": added.unchanged}
    if arguments.json:
        _print_json([{**counts, "stale_vectors": added.stale_vectors, "meta": added.meta.to_dict()}])
    else:
        said = ", ".join(f"{count:,} {word}" for word, count in counts.items())
        print(f"{arguments.kb}: {said}; revision {added.meta.revision}, hash {added.meta.content_hash[:12]}")
    if added.stale_vectors:
        print(f"these vectors were made before the change: {', '.join(added.stale_vectors)}", file=sys.stderr)
    return _report(skips)


def _get_parser(commands: Any) -> None:
    parser = _command(
        commands, "get", "Print the record of an id, or of a title.", "python -m mmel.kb get Q90 --kb my-kb --json"
    )
    parser.add_argument("entity", metavar="ID|TITLE")


def _get(arguments: argparse.Namespace) -> int:
    from mmel.formats.jsonl import entity_record

    records = [entity_record(entity) for entity in _open(arguments).find(arguments.entity)]
    if arguments.json:
        _print_json(records)
        return 0
    for record in records:
        record["aliases"] = ", ".join(f"{alias['name']} ({_number(alias['count'])})" for alias in record["aliases"])
        for key, value in record.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            if shown != "":
                print(f"{key:<12} {shown}")
        print()
    return 0


def _lookup_parser(commands: Any) -> None:
    parser = _command(
        commands,
        "lookup",
        "Print what a surface may mean, with p(e|m): exact, else folded, else fuzzy.",
        'python -m mmel.kb lookup "paris" "Pariss" --kb my-kb -k 5',
    )
    parser.add_argument("surfaces", nargs="+", metavar="SURFACE")
    parser.add_argument("-k", type=_positive, default=30, help="matches a surface at most (default: 30)")
    parser.add_argument("--no-fuzzy", action="store_true", help="exact and folded names only")
    parser.add_argument(
        "--threshold", type=_share, default=0.8, help="similarity of fuzzy names, 0 to 1 (default: %(default)s)"
    )


def _lookup(arguments: argparse.Namespace) -> int:
    kb = _open(arguments)
    found = kb.lookup_many(arguments.surfaces, arguments.k, not arguments.no_fuzzy, arguments.threshold)
    for surface, matches in zip(arguments.surfaces, found, strict=True):
        entities = kb.entities(match.index for match in matches)
        pairs = list(zip(matches, entities, strict=True))
        if arguments.json:
            rows = [
                {"id": entity.id, "title": entity.title, "prior": match.prior, "count": match.count, "how": match.how}
                for match, entity in pairs
            ]
            _print_json([{"surface": surface, "matches": rows}])
        elif pairs:
            print(f"{surface}: {len(pairs)} {matches[0].how}")
            for match, entity in pairs:
                print(f"  {match.prior:8.4f} {_number(match.count):>12}  {entity.id}  {entity.title}")
        else:
            print(f"{surface}: nothing")
    return 0


def _search_parser(commands: Any) -> None:
    parser = _command(
        commands,
        "search",
        "Print the entities whose title, aliases and description fit some words (BM25).",
        'python -m mmel.kb search "capital of France" --kb my-kb -k 5',
    )
    parser.add_argument("query", nargs="+", metavar="WORD")
    parser.add_argument("-k", type=_positive, default=10, help="entities at most (default: 10)")


def _search(arguments: argparse.Namespace) -> int:
    kb = _open(arguments)
    hits = kb.search(" ".join(arguments.query), arguments.k)
    for (_, score), entity in zip(hits, kb.entities(index for index, _ in hits), strict=True):
        if arguments.json:
            row = {"id": entity.id, "title": entity.title, "score": score, "description": entity.description}
            _print_json([row])
        else:
            print(f"{score:8.2f}  {entity.id}  {entity.title}  {entity.description[:80]}")
    return 0


def _stats_parser(commands: Any) -> None:
    _command(
        commands,
        "stats",
        "Print counts, how ambiguous the names are, date, source and hash.",
        "python -m mmel.kb stats --kb my-kb --json",
    )


def _stats(arguments: argparse.Namespace) -> int:
    stats = _open(arguments).stats()
    if arguments.json:
        _print_json([stats])
        return 0
    for key, value in stats.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, count in value.items():
                print(f"  {name or '(none)':<20} {count:>12,}")
        elif isinstance(value, list | tuple):
            print(f"{key:<28} {', '.join(map(str, value)) or 'none'}")
        else:
            print(f"{key:<28} {value:,}" if isinstance(value, int) else f"{key:<28} {value}")
    return 0


def _open(arguments: argparse.Namespace) -> KnowledgeBase:
    from mmel.kb.store import KnowledgeBase

    return KnowledgeBase.open(arguments.kb)


def _print_json(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a date YYYY-MM-DD") from error


def _positive(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


if __name__ == "__main__":
    run(main)
