"""The page that every report is: a head, a tool bar, a list of cards, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from typing import NamedTuple

from mmel import __version__
from mmel.report.html import Child, Html, element, joined

_LISTED = 20  # pictures that cannot be read


class Filter(NamedTuple):
    """A button that leaves the cards with this word in their `data-state`; the empty state is all cards."""

    state: str
    label: str
    mentions: int


class Order(NamedTuple):
    """A choice of the order: by the number in `data-KEY`, falling or rising; cards without the number come last."""

    key: str
    label: str
    falls: bool = False


def page(title: str, header: Child, cards: Iterable[Html], *, css: str = "", kind: str = "") -> Iterator[str]:
    """The pieces of a page in order, to be written to a file.

    Args:
        header: what stands above the cards.
        cards: `<li>` elements with `data-state` and a number for each Order in use.
        css: rules of this page, after those of all pages.
        kind: of page that has a style sheet and a script of its own, which follow those of all pages.
    """
    style, script = ("".join(_file(f"{name}.{ending}") for name in ("page", kind) if name) for ending in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Nothing may be fetched, and no script but ours may run, even if a text were to slip through unescaped.
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"mmel {__version__}"),
        element("title", title),
        element("style", Html(style + css)),
    )
    yield f'<!DOCTYPE html>\n<html lang="en">\n{head}\n<body>\n<main>\n{joined([header])}\n<ol id="cards">\n'
    for card in cards:
        yield f"{card}\n"
    empty = element("p", "Nothing fits.", id="none", hidden=True)
    yield f"</ol>\n{empty}\n</main>\n{element('script', Html(script))}\n</body>\n</html>\n"


def toolbar(filters: Sequence[Filter], orders: Sequence[Order], *, more: Child = None, several: bool = True) -> Html:
    """Buttons, search box and order of the cards; hidden where no script runs.

    Args:
        more: what else stands beside the buttons. several: off where there is but one card to search for.
    """
    buttons = [
        element(
            "button",
            one.label,
            " ",
            element("span", f"{one.mentions:,}", class_="count"),
            type="button",
            data_show=one.state,
            aria_pressed="false" if one.state else "true",
            disabled=one.mentions == 0,
        )
        for one in filters
    ]
    options = [element("option", one.label, value=f"{'-' if one.falls else ''}{one.key}") for one in orders]
    hint = "Search in titles, ids, files"
    return element(
        "form",
        element("div", buttons, class_="filters", role="group", aria_label="Show"),
        more,
        element("input", type="search", id="search", placeholder="Search", title=hint, hidden=not several),
        element("label", "Order ", element("select", options, id="order"), for_="order", hidden=not several),
        element("output", id="shown", for_="search", aria_live="polite", hidden=not several),
        class_="toolbar",
        hidden=True,
    )


def tile(label: str, value: str) -> Html:
    """A headline number with its name, to stand in a `<dl class="tiles">`."""
    return element("div", element("dt", label), element("dd", value))


def notes(summary: str, lines: Iterable[str]) -> Html:
    """Lines that are folded away under their summary; line breaks inside them are kept."""
    return element("details", element("summary", summary), [element("p", line) for line in lines], class_="notes")


def unread(problems: Sequence[str], *, named: bool = True) -> Html | None:
    """A line for each picture that cannot be read, folded away; how many where not `named`; None where all can be."""
    if not problems:
        return None
    count = f"{len(problems):,} of the pictures on this page cannot be read"
    if not named:
        return element("p", f"{count}.", class_="part")
    more = [f"and {len(problems) - _LISTED:,} more"] if len(problems) > _LISTED else []
    return notes(count, [*problems[:_LISTED], *more])


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
