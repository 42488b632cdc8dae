"""Errors that name the argument, the value, what is allowed and the remedy."""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO


class MmelError(Exception):
    """Base of every error a user can cause and mend; the command line prints it without a traceback."""


class InputError(MmelError):
    """Bad input data: says file, line and field where they are known, and the remedy."""

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        place = str(file) if file is not None else ""
        if line is not None:
            place = f"{place}:{line}" if place else f"line {line}"
        parts = [f"{place}: " if place else "", f"field '{field}': " if field else "", message]
        text = "".join(parts)
        if remedy:
            text = f"{text.rstrip('.')}. Remedy: {remedy}"
        super().__init__(text)
        self.file, self.line, self.field, self.remedy = file, line, field, remedy


class ConfigError(MmelError):
    """A setting that does not exist or does not fit its type or range."""


class MissingDependencyError(MmelError, ImportError):
    """An optional part is not installed; the message carries the install command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"'{package}' is needed here and is not installed. Remedy: pip install 'mmel[{extra}]'")


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest of `allowed`, else the list of what is allowed."""
    options = sorted(allowed)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'? Allowed: {', '.join(options)}."
    return f" Allowed: {', '.join(options)}."


def excerpt(text: str, about: str = "", width: int = 80) -> str:
    """Some `width` characters of a text, around where `about`, or its first word, first stands in any case."""
    text = " ".join(text.split())
    places = [text.lower().find(part.lower()) for part in (about, *about.split()[:1])]
    place = next((at for at in places if at >= 0), 0) + len(about) // 2
    start = max(0, min(place - width // 2, len(text) - width))
    return "..." * (start > 0) + text[start : start + width] + "..." * (start + width < len(text))


class SkipReport:
    """Counts what a batch passed over and why, so that one bad document never stops the rest.

    `counts` are records that were passed over. `noted` are irregular ones that were kept, such as a name that stands in
    its sentence in another spelling: they are told and are no failure. The command that owns the report prints
    `summary()` at its end and exits with `exit_code`.
    """

    def __init__(self, keep: int = 5) -> None:
        self.counts: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self._keep = keep
        self._places: set[tuple[str, str]] = set()

    def add(self, reason: str, detail: str) -> None:
        """Count one skip under `reason`; the first few `detail` texts of each reason are kept."""
        self.counts[reason] += 1
        self._exemplify(reason, detail)

    def add_once(self, reason: str, error: InputError) -> None:
        """Count the fault at a place of a file, which is told once however often the file is read."""
        if (reason, str(error)) not in self._places:
            self._places.add((reason, str(error)))
            self.add(reason, str(error))

    def note(self, reason: str, detail: str) -> None:
        """Count one irregular record that was kept, as `add` counts a skip."""
        self.noted[reason] += 1
        self._exemplify(reason, detail)

    def _exemplify(self, reason: str, detail: str) -> None:
        kept = self.examples.setdefault(reason, [])
        if len(kept) < self._keep:
            kept.append(detail)

    def update(self, other: SkipReport) -> None:
        """Count what another report counted, too."""
        self.counts.update(other.counts)
        self.noted.update(other.noted)
        for reason, details in other.examples.items():
            kept = self.examples.setdefault(reason, [])
            kept += details[: self._keep - len(kept)]

    def only(self, reason: str) -> SkipReport:
        """What was passed over for one reason."""
        part = SkipReport(self._keep)
        if reason in self.counts:
            part.counts[reason], part.examples[reason] = self.counts[reason], list(self.examples[reason])
        return part

    @property
    def exit_code(self) -> int:
        return 1 if self.counts else 0

    def summary(self) -> str:
        """One line a reason with its count, then its first examples; empty when nothing was counted."""
        lines = []
        for word, counts in (("skipped", self.counts), ("kept", self.noted)):
            for reason, count in counts.most_common():
                lines.append(f"{word} {count}: {reason}")
                lines += [f"  {example}" for example in self.examples[reason]]
        return "\n".join(lines)

    def print(self, stream: TextIO | None = None) -> None:
        if self.counts or self.noted:
            print(self.summary(), file=stream or sys.stderr)
