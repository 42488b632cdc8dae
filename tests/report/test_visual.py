"""The page of visual linking, read back with a parser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from mmel.document import NIL, ScoredCandidate
from mmel.errors import ConfigError, SkipReport
from mmel.report import EntityCard, VisualResult, write_visual_report
from mmel.vision.regions import Region
from tests.report.reading import Page

EVIL = "</style></title><script>alert('x')</script> \"quoted\" & Sons"


def candidates(**scores: float) -> tuple[ScoredCandidate, ...]:
    return tuple(ScoredCandidate(entity, score, 0.0) for entity, score in scores.items())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures a.png to f.png, all different."""
    for number, name in enumerate("abcdef"):
        Image.new("RGB", (40, 40), (40 * number, 0, 0)).save(tmp_path / f"{name}.png")
    return tmp_path


def entities(folder: Path, **titles: str) -> dict[str, EntityCard]:
    named = {name: f"Person {name}" for name in "abcdef"} | titles
    return {name: EntityCard(name, title, f"who {name} is", folder / f"{name}.png") for name, title in named.items()}


def result(
    folder: Path, document: str, gold: str | None, rank: float, found: tuple[ScoredCandidate, ...]
) -> VisualResult:
    return VisualResult(document, Region(folder / "f.png"), gold, found, rank)


def written(folder: Path, results: Sequence[VisualResult], **options: object) -> Page:
    path = folder / "report.html"
    settings = {"entities": entities(folder), "title": "Look", "protocol": "tiny, test", **options}
    write_visual_report(path, results, **settings)  # type: ignore[arg-type]
    return Page(path)


def all_states(folder: Path) -> list[VisualResult]:
    return [
        result(folder, "narrow", "a", 1, candidates(a=0.6, b=0.59)),
        result(folder, "sure", "a", 1, candidates(a=0.9, b=0.1)),
        result(folder, "unlabelled", None, math.inf, candidates(a=0.9)),
        result(folder, "nothing", "c", math.inf, ()),
        result(folder, "lost", "c", math.inf, candidates(a=0.9, b=0.8)),
        result(folder, "bad", "b", 2, candidates(a=0.5, b=0.4)),
        result(folder, "worse", "e", 4, candidates(a=0.9, b=0.8, c=0.3, e=0.2)),
        result(folder, "tie", "b", 1.5, candidates(a=0.5, b=0.5)),
        result(folder, "stranger", NIL, math.inf, candidates(a=0.3)),
    ]


def test_worst_errors_come_first_and_correct_ones_last(pictures: Path) -> None:
    page = written(pictures, all_states(pictures))
    names = [text.removeprefix("document ") for _, text in page.find("span", "document")]
    assert names == ["worse", "bad", "tie", "lost", "nothing", "stranger", "unlabelled", "narrow", "sure"]
    assert [state for state, _ in page.cards()] == (
        ["wrong"] * 3 + ["not-found"] * 2 + ["nil", "unlabelled"] + ["correct"] * 2
    )
    verdicts = [text for _, text in page.find("strong", "verdict")]
    assert verdicts[:5] == [
        "Error · rank 4", "Error · rank 2", "Error · rank 1.5 (tie)", "Gold not found", "Nothing found",
    ]  # fmt: skip
    margins = [text for _, text in page.find("span", "margin")]
    assert margins == ["margin −0.700", "margin −0.100", "margin +0.000", "margin +0.010", "margin +0.800"]


def test_gold_is_marked_and_shown_where_it_is_not_among_the_first(pictures: Path) -> None:
    page = written(pictures, all_states(pictures), top=2)
    gold = [(attributes["class"], text) for attributes, text in page.find("li", "gold")]
    assert [kind for kind, _ in gold] == ["entity gold extra", "entity gold", "entity gold"] + (
        ["entity gold extra"] * 2 + ["entity gold"] * 2
    )
    assert gold[0][1] == "4✓ gold0.200Person eewho e is"
    assert gold[3][1] == "not found✓ goldPerson ccwho c is"
    # As many marks as mentions with a gold entity, and no card with more entities than two and the gold.
    assert len(page.find("span", "gold-mark")) == 7
    assert len(page.find("li", "entity")) == 2 * 6 + 1 * 2 + 3


def test_numbers_are_over_mentions_with_gold_in_the_knowledge_base(pictures: Path) -> None:
    page = written(pictures, all_states(pictures))
    tiles = dict(zip((t for _, t in page.find("dt")), (t for _, t in page.find("dd")), strict=True))
    assert tiles["mentions"] == "7" and tiles["documents"] == "9"
    assert tiles["R@1"] == f"{2 / 7:.1%}" and tiles["R@3"] == f"{4 / 7:.1%}" and tiles["R@5"] == f"{5 / 7:.1%}"
    assert tiles["MRR@10"] == f"{(2 + 1 / 1.5 + 1 / 2 + 1 / 4) / 7:.1%}"
    buttons = [text for _, text in page.find("button")]
    assert buttons == ["All 9", "Errors 3", "Not found 2", "NIL 1", "Unlabelled 1", "Correct 2"]
    assert f"R@1 {2 / 7:.1%}, R@3 {4 / 7:.1%}" in page.find("desc")[0][1]
    assert [text for _, text in page.find("p", "protocol")] == ["tiny, test"]


def test_what_the_buttons_and_orders_need_is_on_the_cards(pictures: Path) -> None:
    page = written(pictures, all_states(pictures))
    cards = [attributes for attributes, _ in page.find("li", "card")]
    assert [card["data-order"] for card in cards] == [str(number) for number in range(9)]
    assert sorted(int(card["data-place"] or "") for card in cards) == list(range(9))
    assert [card.get("data-rank") for card in cards] == (
        ["4", "2", "1.5", "Infinity", "Infinity", None, None, "1", "1"]
    )
    states = {attributes["data-show"] for attributes, _ in page.find("button")}
    assert states - {""} == {card["data-state"] for card in cards}
    keys = {(attributes["value"] or "").lstrip("-") for attributes, _ in page.find("option")}
    assert all(any(f"data-{key}" in card for card in cards) for key in keys)


def test_titles_ids_and_names_are_escaped_everywhere(pictures: Path) -> None:
    (pictures / "x<b>.png").write_bytes((pictures / "a.png").read_bytes())
    evil = {**entities(pictures, a=EVIL), EVIL: EntityCard(EVIL, EVIL, EVIL, pictures / f"{'x' * 20}<i>.png")}
    shown = VisualResult(EVIL, Region(pictures / "x<b>.png"), EVIL, candidates(**{EVIL: 0.5, "a": 0.6}), 2)
    page = written(pictures, [shown], entities=evil, title=EVIL, protocol=EVIL)
    assert "<script>alert" not in page.source
    assert len(page.find("script")) == len(page.find("style")) == 1
    assert page.find("title")[0][1] == EVIL
    assert page.find("h1")[0][1] == page.find("p", "protocol")[0][1] == EVIL
    assert [text for _, text in page.find("span", "title")] == [EVIL, EVIL]
    assert page.find("span", "document")[0][1] == f"document {EVIL}"


def test_nothing_is_fetched_and_only_our_script_may_run(pictures: Path) -> None:
    page = written(pictures, all_states(pictures))
    page.check_self_contained()
    assert "data:image/jpeg" in page.source
    assert not any({"href", "style"} & set(attributes) for _, attributes, _ in page.elements)


def test_pictures_that_cannot_be_read_are_placeholders_and_counted(pictures: Path) -> None:
    known = entities(pictures) | {"b": EntityCard("b", "B"), "c": EntityCard("c", "C", picture=pictures / "none.png")}
    lost = VisualResult("d", Region(pictures / "lost.png"), "a", candidates(a=0.5, b=0.4, c=0.3, unknown=0.2), 1)
    skips = SkipReport()
    page = written(pictures, [lost, lost], entities=known, skips=skips)
    assert [text for _, text in page.find("div", "missing")] == (
        ["cannot be read", "no picture", "cannot be read", "no picture"] * 2
    )
    assert sum(skips.counts.values()) == 2
    (notes,) = [text for _, text in page.find("details", "notes") if "cannot be read" in text]
    assert notes.startswith("2 of the pictures on this page cannot be read")
    assert "none.png" in notes and "lost.png" in notes
    assert [text for _, text in page.find("span", "title")][:4] == ["Person a", "B", "C", "unknown"]


def test_entities_are_asked_for_once_and_only_those_on_the_page(pictures: Path) -> None:
    asked: list[Sequence[str]] = []

    def ask(ids: Sequence[str]) -> dict[str, EntityCard]:
        asked.append(ids)
        return entities(pictures)

    few = [result(pictures, "d", "f", 6, candidates(a=0.9, b=0.8, c=0.7, d=0.6, e=0.5, f=0.4))] * 2
    written(pictures, [*few, result(pictures, "d", NIL, math.inf, ())], entities=ask, top=2)
    assert asked == [["a", "b", "f"]]


def test_only_the_worst_are_shown_where_there_are_many(pictures: Path) -> None:
    page = written(pictures, all_states(pictures), limit=2)
    assert [text for _, text in page.find("span", "document")] == ["document worse", "document bad"]
    assert page.find("p", "part")[0][1].startswith("The worst 2 of 9 mentions are shown")
    assert page.find("dd")[0][1] == "7"


def test_a_rank_beyond_the_listed_candidates_bounds_the_margin(pictures: Path) -> None:
    page = written(pictures, [result(pictures, "d", "f", 40, candidates(a=0.9, b=0.6))])
    assert page.find("span", "margin")[0][1] == "margin ≤ −0.300"
    assert page.find("li", "extra")[0][1].startswith("40✓ gold")
    assert "R@10 0.0%, R@30 0.0%." in page.find("desc")[0][1]


def test_a_page_without_mentions(pictures: Path) -> None:
    page = written(pictures, [])
    assert page.cards() == []
    assert page.find("svg") == []
    assert page.find("dd")[0][1] == "0"


def test_a_failed_report_leaves_the_old_one(pictures: Path) -> None:
    path = pictures / "report.html"
    path.write_text("old")

    def fail(ids: Sequence[str]) -> dict[str, EntityCard]:
        raise OSError("no base")

    with pytest.raises(OSError):
        write_visual_report(path, all_states(pictures), fail, title="t", protocol="p")
    with pytest.raises(ConfigError, match="top = 0"):
        write_visual_report(path, [], {}, title="t", protocol="p", top=0)
    assert path.read_text() == "old"
    assert sorted(one.name for one in pictures.iterdir() if "report" in one.name) == ["report.html"]


def test_a_card_as_it_is_written(pictures: Path) -> None:
    shown = VisualResult("d<1>", Region(pictures / "f.png", (1, 2, 30.5, 40)), "b", candidates(a=0.5, b=0.25), 2)
    page = written(pictures, [shown], entities=entities(pictures, a="A & O"))
    card = page.source.split('<ol id="cards">\n')[1].split("\n</ol>")[0]
    assert card == (
        '<li class="card wrong" data-state="wrong" data-order="0" data-rank="2" data-margin="-0.25" data-place="0">'
        '<div class="mention"><div class="picture p0" role="img" aria-label="Mention in d&lt;1&gt;"></div>'
        '<div class="facts"><strong class="verdict">Error · rank 2</strong><span class="margin">margin −0.250</span>'
        '<span class="document">document <bdi>d&lt;1&gt;</bdi></span>'
        '<span class="file" dir="auto">f.png</span><span class="file">box 1, 2, 30.5, 40</span></div></div>'
        '<ol class="candidates"><li class="entity">'
        '<div class="picture p1" role="img" aria-label="Picture of A &amp; O"></div>'
        '<div class="line"><span class="place">1</span><span class="score">0.500</span></div>'
        '<span class="title" dir="auto">A &amp; O</span><span class="id" dir="auto">a</span>'
        '<span class="description" dir="auto">who a is</span></li>'
        '<li class="entity gold"><div class="picture p2" role="img" aria-label="Picture of Person b"></div>'
        '<div class="line"><span class="place">2</span><span class="gold-mark">✓ gold</span>'
        '<span class="score">0.250</span></div><span class="title" dir="auto">Person b</span>'
        '<span class="id" dir="auto">b</span><span class="description" dir="auto">who b is</span></li></ol></li>'
    )


def test_each_picture_is_embedded_once(pictures: Path) -> None:
    few = all_states(pictures)
    once, often = (written(pictures, few * times).source for times in (1, 4))
    assert once.count("data:image/jpeg") == often.count("data:image/jpeg") == 5
    per_card = (len(often) - len(once)) / (3 * len(few))
    assert per_card < 3000


@pytest.mark.data
def test_four_hundred_mentions_of_real_photographs_fit_ten_megabytes(data_root: Path, tmp_path: Path) -> None:
    images = sorted((data_root / "movies" / "images" / "documents").glob("*.jpg"))[:60]
    cards = {str(number): EntityCard(str(number), f"Person {number}", "", path) for number, path in enumerate(images)}
    found = candidates(**{str(number): 0.5 for number in range(5)})
    results = [VisualResult("d", Region(path), "0", found, 1) for path in images]
    path = tmp_path / "report.html"
    write_visual_report(path, results, cards, title="t", protocol="p")
    page = path.read_text(encoding="utf-8")
    style = page.split("<style>")[1].split("</style>")[0]
    picture, card = len(style) / style.count("data:image/jpeg"), (len(page) - len(style)) / len(images)
    # With one picture an entity, 306 mentions of movies val show 4 distinct pictures each.
    assert 400 * (4 * picture + card) < 10e6
