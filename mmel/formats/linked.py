"""Linked documents one at a time, in one of several formats: what a command that streams writes.

A file is the head of its format and then the bytes of each document, in any number of pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmel.document import LinkedDocument
from mmel.errors import ConfigError, did_you_mean
from mmel.formats import elevant, jsonl, nif
from mmel.formats.records import record_line

FORMATS = ("jsonl", "nif", "elevant")


@dataclass(frozen=True, slots=True)
class LinkedWriter:
    """A format: `head` begins a file, `encode` gives the bytes of a document and takes its number from 0.

    `encode` raises InputError where the format cannot say the document.
    """

    format: str
    head: bytes
    encode: Callable[[LinkedDocument, int], bytes]


def writer_for(path: str | Path, format: str | None = None, entity_base: str = nif.ENTITY_BASE) -> LinkedWriter:
    """The writer of a file.

    Args:
        format: "jsonl" (see `mmel.formats.jsonl.write_linked`), "nif" (Turtle; names only, with confidence) or
            "elevant" (linked articles; names only). None goes by the name of the file: `.ttl` is NIF,
            `.linked_articles.jsonl` is ELEVANT, all else is JSON lines.
        entity_base: what stands before an entity's id in NIF, unless the id is a uri itself.

    Raises:
        ConfigError: there is no such format.
    """
    path = Path(path)
    chosen = _by_name(path.name) if format is None else format
    if chosen == "jsonl":
        return LinkedWriter(chosen, b"", lambda linked, number: record_line(jsonl.linked_record(linked), path, number))
    if chosen == "elevant":
        return LinkedWriter(
            chosen, b"", lambda linked, number: record_line(elevant.linked_article(linked, number), path, number)
        )
    if chosen == "nif":
        return LinkedWriter(chosen, nif.PREFIXES.encode(), partial(_turtle, entity_base))
    raise ConfigError(f"format '{chosen}' of linked documents is unknown.{did_you_mean(chosen, FORMATS)}")


def _by_name(name: str) -> str:
    if name.endswith(".ttl"):
        return "nif"
    return "elevant" if name.endswith(".linked_articles.jsonl") else "jsonl"


def _turtle(entity_base: str, linked: LinkedDocument, number: int) -> bytes:
    return nif.linked_turtle(linked, entity_base=entity_base).encode()
