"""What CLIP reads of a mention: the modality-augmented text of CLIP_ND (Wang et al. 2024, Table 4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from mmel.document import TextMention
from mmel.sentences import sentence_starts
from mmel.vision_settings import MentionText


def mention_words(text: str, mentions: Sequence[TextMention], form: MentionText) -> list[str]:
    """The text of each mention of a document's `text`, in a form of M, S, S1 and D.

    M is the mention's surface, or the longer name that a dataset has for it, S the whole text, S1 the sentence that the
    mention begins in, D its description (`extra["description"]`): `M-S` is "M: S", `S-M` is "S M", `S-M-D` is "S M: D",
    which without a description is "S M", and so with S1.
    """
    starts = sentence_starts(text)
    return [_words(text, starts, mention, form) for mention in mentions]


def described(mention: TextMention) -> bool:
    """Whether the mention brings a description, which forms with a D read."""
    return bool((mention.extra or {}).get("description"))


def _words(text: str, starts: Sequence[int], mention: TextMention, form: MentionText) -> str:
    context = " ".join((_sentence(text, starts, mention) if "S1" in form else text).split())
    if form in ("S", "S1"):
        return context
    name = mention.name or mention.text
    if form.startswith("M-"):
        return f"{name}: {context}"
    description = f": {(mention.extra or {})['description']}" if form.endswith("-D") and described(mention) else ""
    return f"{context} {name}{description}"


def _sentence(text: str, starts: Sequence[int], mention: TextMention) -> str:
    place = bisect_right(starts, mention.start)
    return text[starts[place - 1] : starts[place] if place < len(starts) else len(text)]
