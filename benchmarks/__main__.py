"""`python -m benchmarks`: run experiments again and set them beside what was published and measured."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import report, spec
from benchmarks.runner import CHECKOUT, FAILED, OFF, STATUSES, Row, Runner, parse_roots
from mmel.cli import Parser, run
from mmel.errors import ConfigError, did_you_mean
from mmel.files import atomic_write


def parser() -> Parser:
    options = Parser(
        prog="python -m benchmarks",
        description="Run experiments and compare them with what was measured before. Without a choice of experiments, "
        "print the tables as recorded. Results that are there already are used again.",
        example="""
            python -m benchmarks
            python -m benchmarks --experiment aida-prior --root aida=DIR
            python -m benchmarks --table textual --root DIR --seeds 0 1 2
            python -m benchmarks --all --only-missing --record --update-readme
        """,
    )
    choice = options.add_mutually_exclusive_group()
    choice.add_argument("--list", action="store_true", help="name tables and experiments")
    choice.add_argument("--experiment", nargs="+", metavar="NAME", help="run these experiments")
    choice.add_argument("--table", nargs="+", metavar="NAME", help="run the experiments of these tables")
    choice.add_argument("--all", action="store_true", help="run every experiment")
    options.add_argument(
        "--root",
        action="append",
        nargs="+",
        default=[],
        metavar="[NAME=]DIR",
        help=f"data roots ({', '.join(spec.ROOTS)}), or one folder that holds all; default $MMEL_DATA",
    )
    options.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="seeds to run (default: 0)")
    options.add_argument("--only-missing", action="store_true", help="only experiments with a score not measured yet")
    options.add_argument(
        "--rerun",
        action="store_true",
        help="throw away the results that are there and run anew (after a change of code)",
    )
    options.add_argument(
        "--out",
        type=Path,
        default=CHECKOUT / "runs" / "benchmarks",
        metavar="DIR",
        help="folder of runs and logs (default: runs/benchmarks)",
    )
    options.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    options.add_argument("--json", action="store_true", help="rows as JSON on stdout")
    options.add_argument("--record", action="store_true", help="write what was measured into the experiments' files")
    options.add_argument("--markdown", type=Path, metavar="FILE", help="write the recorded tables as Markdown")
    options.add_argument("--update-readme", action="store_true", help="write the recorded tables into README.md")
    return options


def main(argv: list[str], folder: Path = spec.HERE, readme: Path = CHECKOUT / "README.md") -> int:
    """Exit code 1 where a row is off or failed, else 0; `folder` holds the YAML files."""
    options = parser().parse_args(argv)
    benchmarks = spec.load(folder)
    if options.list:
        return _list(benchmarks, options.json)
    names, tables = _chosen(benchmarks, options)
    runner = Runner(
        benchmarks,
        parse_roots([word for words in options.root for word in words]),
        seeds=list(dict.fromkeys(options.seeds)),
        out=options.out,
        rerun=options.rerun,
    )
    if options.dry_run:
        print("\n".join(line for name in names for line in runner.commands(name)))
        return 0
    start = time.perf_counter()
    rows = _run(benchmarks, runner, names, options)
    seconds = time.perf_counter() - start
    _show(benchmarks, tables, rows, options, ran=bool(names))
    if names:
        counts = Counter(row.status for row in rows)
        told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        print(f"\n{len(rows)} rows: {told}; {seconds:.1f} s", file=sys.stderr if options.json else sys.stdout)
    _write(spec.load(folder), options, readme)
    return 1 if any(row.status in (OFF, FAILED) for row in rows) else 0


def _chosen(benchmarks: spec.Benchmarks, options: Any) -> tuple[list[str], list[str]]:
    """The experiments to run, and the tables to print."""
    for kind, asked, known in (
        ("experiment", options.experiment, benchmarks.experiments),
        ("table", options.table, benchmarks.tables),
    ):
        for name in asked or ():
            if name not in known:
                raise ConfigError(f"--{kind}: no {kind} '{name}'.{did_you_mean(name, known)}")
    names: list[str] = []
    tables = list(options.table or benchmarks.tables)
    if options.experiment:
        names, tables = options.experiment, []
    elif options.table:
        names = [name for table in options.table for name in benchmarks.of_table(table)]
    elif options.all:
        names = [*(name for table in tables for name in benchmarks.of_table(table)), *benchmarks.experiments]
    names = list(dict.fromkeys(names))
    if options.only_missing:
        names = [name for name in names if any(s.measured is None for s in benchmarks.experiments[name].scores)]
    return names, tables


def _run(benchmarks: spec.Benchmarks, runner: Runner, names: list[str], options: Any) -> list[Row]:
    """Run, print a line a row as it comes, record."""
    stream = sys.stderr if options.json else sys.stdout
    rows: list[Row] = []
    for name in names:
        own = list(runner.run(name))
        for row in own:
            print(row.line(), file=stream, flush=True)
        if options.record:
            report.record(benchmarks.experiment_file(name), own, datetime.date.today().isoformat())
        rows += own
    return rows


def _show(benchmarks: spec.Benchmarks, tables: list[str], rows: list[Row], options: Any, ran: bool) -> None:
    if options.json:
        values: Any = [row.to_dict() for row in rows]
        if not ran:
            values = {name: report.cells(benchmarks, name) for name in tables}
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return
    for name in tables:
        print(f"\n{report.text(benchmarks, name, report.index(rows))}")


def _write(benchmarks: spec.Benchmarks, options: Any, readme: Path) -> None:
    body = report.markdown(benchmarks, benchmarks.tables)
    if options.markdown:
        with atomic_write(options.markdown) as stream:
            stream.write(f"{body}\n")
    if options.update_readme:
        report.update_readme(readme, body)


def _list(benchmarks: spec.Benchmarks, as_json: bool) -> int:
    if as_json:
        tables = {
            name: {"title": t.title, "experiments": benchmarks.of_table(name)} for name, t in benchmarks.tables.items()
        }
        experiments = {name: experiment.model_dump(mode="json") for name, experiment in benchmarks.experiments.items()}
        print(json.dumps({"tables": tables, "experiments": experiments}, indent=2, ensure_ascii=False))
        return 0
    for name, table in benchmarks.tables.items():
        print(f"table {name}: {table.title}")
        for member in benchmarks.of_table(name):
            scores = benchmarks.experiments[member].scores
            done = sum(score.measured is not None for score in scores)
            print(f"  {member:<26} {benchmarks.experiments[member].title} ({done} of {len(scores)} scores measured)")
    return 0


if __name__ == "__main__":
    run(main)
