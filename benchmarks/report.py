"""Tables of published and measured scores, as Markdown and as plain text."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.runner import FAILED, OFF, Row
from benchmarks.spec import Benchmarks, Column, Score, TableRow, mentions
from mmel.errors import InputError
from mmel.files import atomic_write

DISPUTE = "† Two sources give different numbers for the same system and data set."
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
Results = Mapping[tuple[str, tuple[str, str]], Row]


def index(rows: Iterable[Row]) -> Results:
    """Rows by experiment and score, for a table that shows what was just run."""
    return {(row.experiment, row.score.key): row for row in rows}


def markdown(benchmarks: Benchmarks, names: Iterable[str]) -> str:
    """The tables as Markdown, from the recorded numbers alone, so that the same files give the same text."""
    blocks = []
    for name in names:
        table, grid = benchmarks.tables[name], cells(benchmarks, name)
        head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in grid]
        rule = f"|---|{'---:|' * len(table.columns)}{'---|' * (len(grid[0]) - 1 - len(table.columns))}"
        note = [table.note.strip(), ""] if table.note else []
        foot = ["", DISPUTE] if table.disputed() else []
        blocks.append("\n".join([f"### {table.title}", "", *note, head, rule, *body, *foot]))
    return "\n\n".join(blocks)


def text(benchmarks: Benchmarks, name: str, results: Results | None = None) -> str:
    """A table for the terminal; scores of `results` stand in place of the recorded ones."""
    table, grid = benchmarks.tables[name], cells(benchmarks, name, results or {})
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = [table.title, *([table.note.strip()] if table.note else []), ""]
    numbers = range(1, 1 + len(table.columns))
    for row in grid:
        padded = [
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join([*lines, *(["", DISPUTE] if table.disputed() else [])])


def cells(benchmarks: Benchmarks, name: str, results: Results | None = None) -> list[list[str]]:
    """Heading and rows: system, one cell a column, protocol where a row tells one, source."""
    table = benchmarks.tables[name]
    rows = []
    for row in table.rows:
        if row.experiment is None:
            numbers = [_published(row, column, table.disputed()) for column in table.columns]
            rows.append([row.title, *numbers, row.protocol, row.source])
        else:
            experiment = benchmarks.experiments[row.experiment]
            scores = {score.key: score for score in experiment.scores}
            numbers = [
                _ours(row.experiment, scores.get(column.key) if column.key else None, results or {})
                for column in table.columns
            ]
            source = f"measured here; needs {experiment.needs}" if experiment.needs else "measured here"
            rows.append([experiment.title, *numbers, experiment.protocol, source])
    grid = [["System", *map(_heading, table.columns), "Protocol", "Source"], *rows]
    return grid if any(row[-2] for row in rows) else [[*row[:-2], row[-1]] for row in grid]


def update_readme(path: Path, body: str) -> bool:
    """Put `body` between the two markers of a file; whether that changed it. InputError where they are missing."""
    before = path.read_text(encoding="utf-8")
    start, end = before.find(BEGIN), before.find(END)
    if start < 0 or end < start:
        raise InputError(f"has no line '{BEGIN}' with '{END}' after it", file=path, remedy="add the two lines")
    after = f"{before[: start + len(BEGIN)]}\n{body.strip()}\n{before[end:]}"
    if after != before:
        with atomic_write(path) as stream:
            stream.write(after)
    return after != before


def _heading(column: Column) -> str:
    count = mentions(column.key) if column.key else None
    return column.title if count is None else f"{column.title} ({count:,})"


def _published(row: TableRow, column: Column, disputed: Container[tuple[str, str]]) -> str:
    value = row.published.get(column.title)
    mark = " †" if (row.title, column.title) in disputed else ""
    return "" if value is None else f"{value:.1f}{mark}"


def _ours(experiment: str, score: Score | None, results: Results) -> str:
    if score is None:
        return ""
    row = results.get((experiment, score.key))
    if row is not None and row.mean is not None and row.status != FAILED:
        return f"{row.mean:.2f} ± {row.std:.2f}{' (off)' if row.status == OFF else ''}"
    if row is not None:
        return row.status
    if score.measured is None:
        return "not measured"
    return f"{score.measured.mean:.2f} ± {score.measured.std:.2f}"


def record(path: Path, rows: Sequence[Row], date: str) -> int:
    """Write what was measured into an experiment's file and keep every other line; the number of scores written.

    Each score's `measured:` stands on a line of its own, in the order of the scores. InputError where it does not.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.strip().startswith("measured:")]
    if len(places) != len(rows):
        raise InputError(
            f"has {len(places)} lines 'measured:' for {len(rows)} scores",
            file=path,
            remedy="give each score its own line 'measured: null'",
        )
    written = 0
    for place, row in zip(places, rows, strict=True):
        measured = row.measured(date)
        if measured is not None:
            indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
            seeds = ", ".join(map(str, measured.seeds))
            flow = f"{{mean: {measured.mean:.2f}, std: {measured.std:.2f}, seeds: [{seeds}], date: {measured.date}}}"
            lines[place] = f"{indent}measured: {flow}\n"
            written += 1
    with atomic_write(path) as stream:
        stream.write("".join(lines))
    return written
