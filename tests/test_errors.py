from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmel.errors import InputError, SkipReport, excerpt

LONG = f"{'before ' * 30}the Earl of RENN {'behind ' * 30}".strip()


def test_an_excerpt_is_around_what_it_is_about() -> None:
    for about in ("Earl of RENN", "earl of renn", "Earl Renn"):
        shown = excerpt(LONG, about)
        assert "the Earl of RENN behind" in shown
        assert len(shown) == 86
        assert (shown[:3], shown[-3:]) == ("...", "...")


def test_an_excerpt_of_what_is_about_nothing_is_the_beginning() -> None:
    assert excerpt(LONG) == excerpt(LONG, "Ulm") == f"{LONG[:80]}..."
    assert excerpt("Otto\n in  Ulm", "Ulm") == "Otto in Ulm"


@given(st.text(max_size=300), st.text(max_size=9))
def test_an_excerpt_is_short_and_of_the_text(text: str, about: str) -> None:
    shown = excerpt(text, about)
    assert len(shown) <= 86
    assert shown.removeprefix("...").removesuffix("...") in " ".join(text.split())


def test_a_place_of_a_file_is_counted_once() -> None:
    skips = SkipReport()
    for line in (1, 1, 2, 1):
        skips.add_once("broken record", InputError("is broken", file="a.json", line=line))
    skips.add_once("other", InputError("is broken", file="a.json", line=1))
    assert skips.counts == {"broken record": 2, "other": 1}
    assert skips.examples["broken record"] == ["a.json:1: is broken", "a.json:2: is broken"]
