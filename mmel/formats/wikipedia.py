"""Wikipedia's addresses, titles and redirects, in the spellings that datasets have."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from mmel.errors import InputError, SkipReport
from mmel.files import read_lines
from mmel.formats.records import Place

_ADDRESS = re.compile(r"\W*(?:\w*:/+)?(?P<host>[\w.-]*?)\.?wikipedia\.org/+(?:wiki/|w/index\.php\?title=)")
_PLAIN = re.compile(r"https://en\.wikipedia\.org/wiki/[^#?]+")


def is_plain(address: str) -> bool:
    """Whether an address is `https://en.wikipedia.org/wiki/TITLE`, percent-encoded or not, or a bare title."""
    return "wikipedia.org" not in address or _PLAIN.fullmatch(address) is not None


def wikipedia_title(address: str) -> str:
    """The page title of a Wikipedia address, or of a title as addresses write it: `Caf%C3%A9_(film)`, 'Café (film)'.

    Percent-encoding, underscores, mobile hosts, fragments, queries and letters before the scheme (`nhttps://`) are
    undone; the first letter is a capital. Other languages than English keep theirs before the title, `de:Saar`.

    Raises InputError for an address elsewhere, or without a title.
    """
    text = address.strip()
    match = _ADDRESS.match(text)
    language = ""
    if match is not None:
        text = re.split(r"[#?&]" if "index.php" in match[0] else r"[#?]", text[match.end() :])[0]
        language = match["host"].split(".")[0]
    elif "://" in text:
        raise InputError(f"'{address}' is no address of a Wikipedia page")
    try:
        text = unquote(text, errors="strict")
    except UnicodeDecodeError:
        text = unquote(text, encoding="latin-1")
    title = " ".join(text.replace("_", " ").split())
    if not title:
        raise InputError(f"'{address}' names no page")
    return ("" if language in ("", "en", "www", "m") else f"{language}:") + title[0].upper() + title[1:]


def read_redirects(path: str | Path, skips: SkipReport | None = None) -> dict[str, str]:
    """A table of redirects, `TITLE<tab>TITLE` a line: the page that each title leads to, however long the chain."""
    steps: dict[str, str] = {}
    for line, content in read_lines(path, skips):
        columns = content.split("\t")
        if len(columns) != 2 or not all(map(str.strip, columns)):
            error = Place(path, line, "a line is TITLE<tab>TITLE").error(f"expected two titles, found {content!r}")
            if skips is None:
                raise error
            skips.add("broken record", str(error))
            continue
        steps[wikipedia_title(columns[0])] = wikipedia_title(columns[1])
    return {title: _end(title, steps) for title in steps}


def _end(title: str, steps: dict[str, str]) -> str:
    """Where a chain of redirects ends; of a circle, the title that it began with."""
    seen = {title}
    end = title
    while (following := steps.get(end)) is not None and following not in seen:
        seen.add(following)
        end = following
    return title if end in steps else end
