"""HTML from values: what is not HTML already is escaped, and every element is closed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

# Elements without content (WHATWG HTML, 13.1.2, "void elements") as far as they are used here.
_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
# Not allowed in HTML, and lone surrogates not in UTF-8 either; JSON can carry both.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Html(str):
    """A string that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def escaped(text: str) -> Html:
    """`text` for use in content or in a quoted attribute; HTML stays as it is, forbidden characters become U+FFFD."""
    return text if isinstance(text, Html) else Html(html.escape(_FORBIDDEN.sub("�", text)))


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """`<name attributes>children</name>`.

    Args:
        children: strings (escaped unless they are `Html`), iterables of children, None for nothing.
        attributes: `class_="a"` becomes `class="a"`, `data_rank=1` `data-rank="1"`; True stands alone, False and None
            leave the attribute out.
    """
    opening = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name in _VOID:
        return Html(opening)
    return Html(f"{opening}{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Html:
    """Children one behind the other."""
    return Html("".join(map(_content, children)))


def _content(child: Child) -> Html:
    if child is None:
        return Html()
    return escaped(child) if isinstance(child, str) else joined(child)


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escaped(value if isinstance(value, str) else f"{value:g}")}"'
