"""The page of linked documents, read back with a parser."""

from __future__ import annotations

import html
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmel.document import (
    NIL,
    Box,
    Coupling,
    Document,
    Entity,
    Link,
    LinkedDocument,
    ScoredCandidate,
    TextMention,
    VisualMention,
)
from mmel.errors import ConfigError, InputError, SkipReport
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.report import DocumentReport, EntityCard, document_page, kb_cards, write_document_report
from mmel.report import judged as judged_module
from tests.report.reading import Page

EVIL = "</script></style><!--<script>alert('x')</script> \"quoted\" & Sons"
TEXT = "Ann met Bob and Cy."


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, name in enumerate("abcd"):
        Image.new("RGB", (200, 100), (60 * number, 0, 90)).save(tmp_path / f"{name}.png")
    return tmp_path


def link(entity: str, score: float = 0.9, *others: str) -> Link:
    rest = tuple(ScoredCandidate(one, 0.1, 0.2, {"prior": -1.5}) for one in others)
    return Link(entity, score, (ScoredCandidate(entity, score, 0.25, {"prior": 0.5, "transport": 1.0}), *rest))


def document(id: str = "d", gold: Sequence[str | None] = ("A", "B", "C"), text: str = TEXT) -> Document:
    mentions = [(name, text.index(name)) for name in ("Ann", "Bob", "Cy")]
    return Document(
        id,
        text,
        text_mentions=tuple(
            TextMention(start, start + len(name), name, entity)
            for (name, start), entity in zip(mentions, gold, strict=True)
        ),
        visual_mentions=(
            VisualMention("a.png", None, "P"),
            VisualMention("b.png", (20, 10, 60, 60), "Q"),
            VisualMention("b.png", (100, 50, 150, 100), NIL),
        ),
    )


def joint(id: str = "d") -> LinkedDocument:
    """Ann is right, Bob became right, Cy became wrong; of three faces in two pictures the second changed to NIL."""
    one = document(id)
    alone = LinkedDocument(one, (link("A"), link("D", 0.3), link("C")), (link("P"), link("Q", 0.4), Link(NIL, 0.7, ())))
    return LinkedDocument(
        one,
        (link("A", 0.9, "B"), link("B", 0.6), link("D", 0.8, "A", "C")),
        (link("P"), Link(NIL, 0.45, ()), Link(NIL, 0.7, ())),
        couplings=(Coupling(0, 0, 0.5, ("A", "F", "P")), Coupling(1, 1, 0.1), Coupling(2, 0, 0.3, ("D", "P"))),
        alone=alone,
    )


def cards(folder: Path, **titles: str) -> dict[str, EntityCard]:
    known = {name: EntityCard(name, f"Title {name}", f"who {name} is") for name in "ABCDF"}
    known |= {name: EntityCard(name, f"Actor {name}", "plays", folder / f"{name.lower()}.png") for name in "PQ"}
    for name in "pq":
        Image.new("RGB", (30, 30), "red" if name == "p" else "blue").save(folder / f"{name}.png")
    return known | {name: EntityCard(name, title, title) for name, title in titles.items()}


def written(folder: Path, linked: Sequence[LinkedDocument], **options: Any) -> Page:
    path = folder / "report.html"
    settings = {"cards": cards(folder), "pictures": folder, "title": "Look", "protocol": "tiny, test", **options}
    write_document_report(path, linked, **settings)
    return Page(path)


def data(page: Page) -> Any:
    (text,) = [text for attributes, text in page.find("script") if attributes.get("type") == "application/json"]
    return json.loads(text)


def anchors(page: Page) -> dict[str, tuple[list[str], str]]:
    """Words of the class and text of each mention, by its id."""
    return {
        str(attributes["id"]): (str(attributes["class"]).split(), text)
        for attributes, text in page.find("a", "m")
        if "id" in attributes
    }


def texts(page: Page) -> list[str]:
    return [text for _, text in page.find("div", "text")]


def test_every_link_stands_in_the_text_or_on_its_picture(pictures: Path) -> None:
    page = written(pictures, [joint()])
    assert texts(page) == [TEXT]
    assert anchors(page) == {
        "d0-t0": (["m", "right"], "Ann"),
        "d0-t1": (["m", "right", "changed", "disagree"], "Bob"),
        "d0-t2": (["m", "wrong", "changed", "disagree"], "Cy"),
        "d0-v0": (["m", "box", "right"], ""),
        "d0-v1": (["m", "box", "wrong", "nil", "low", "changed", "disagree"], "1"),
        "d0-v2": (["m", "box", "right", "nil"], "2"),
    }
    styles = {str(a["id"]): a["style"] for a, _ in page.find("a", "box")}
    assert styles == {
        "d0-v0": "left:0%;top:0%;width:100%;height:100%",
        "d0-v1": "left:10%;top:10%;width:20%;height:50%",
        "d0-v2": "left:50%;top:50%;width:25%;height:50%",
    }
    assert len(page.find("div", "frame")) == 2
    labels = [str(a["aria-label"]) for a, _ in page.find("a", "box")]
    assert labels == ["Picture 1: Actor P", "Picture 2: NIL", "Picture 2: NIL"]
    # Names below the pictures, with numbers where a picture has several boxes.
    assert [text for _, text in page.find("figcaption")] == ["Picture 1Actor P", "Picture 21 NIL2 NIL"]


def table(page: Page) -> list[list[str]]:
    """The rows of the first table of links, its head first."""
    return rows(page, 'class="links"')


def rows(page: Page, after: str) -> list[list[str]]:
    """The cells of the first table behind a string."""
    found = page.source.split(after)[1].split("</table>")[0].split("<tr")[1:]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in found]
    return [[html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in cells]


def test_a_table_has_every_link_for_those_who_print(pictures: Path) -> None:
    page = written(pictures, [joint()])
    assert table(page) == [
        ["Mention", "Entity", "Confidence", "Runner-up", "Joined with", "Alone", "Gold"],
        [
            "Ann",
            "Title A A",
            "0.900",
            "Title B 0.100",
            "Picture 1 (Title A → Title F → Actor P)",
            "",
            "✓ Title A",
        ],
        ["Bob", "Title B B", "0.600", "", "Picture 2 (no short path)", "Title D", "✓ Title B"],
        ["Cy", "Title D D", "0.800", "Title A 0.100", "Picture 1 (Title D → Actor P)", "Title C", "✗ Title C"],
        ["Picture 1 a.png", "Actor P P", "0.900", "", "Ann (Actor P → Title F → Title A)", "", "✓ Actor P"],
        ["Picture 2 b.png", "NIL", "0.450", "", "Bob (no short path)", "Actor Q", "✗ Actor Q"],
        ["Picture 2 b.png", "NIL", "0.700", "", "", "", "✓ NIL"],
    ]
    # Each leads to its mention; a script hides the table until it is asked for, a printer does not.
    ids = {attributes.get("id") for attributes, _ in page.find("a", "m")}
    targets = [a["href"] for a, _ in page.find("a") if "class" not in a]
    assert len(targets) == 6 and {str(one)[1:] for one in targets} <= ids
    (toggle,) = [attributes for attributes, _ in page.find("button", "open")]
    assert toggle["aria-controls"] in {attributes.get("id") for attributes, _ in page.find("div", "links")}
    style = page.find("style")[0][1]
    assert ".links[hidden] { display: block !important; }" in style.split("@media print")[-1]


def test_what_the_cards_show_stands_in_the_data(pictures: Path) -> None:
    values = data(written(pictures, [joint()], top=1))
    entities = [one[0] for one in values["entities"]]
    assert sorted(entities) == list("ABCDFPQ")
    number = {id: place for place, id in enumerate(entities)} | {NIL: -1}
    assert values["columns"] == ["prior", "transport"]
    (shown,) = values["documents"]
    assert [one[:4] for one in shown["text"]] == [
        ["Ann", number["A"], 0.9, number["A"]],
        ["Bob", number["B"], 0.6, number["B"]],
        ["Cy", number["D"], 0.8, number["C"]],
    ]
    assert [one[4] for one in shown["text"]] == [[number["A"], 0.9], [number["D"], 0.3], [number["C"], 0.9]]
    # One candidate of each, and the gold where it is behind: entity, rank, score, prior and the columns.
    assert shown["text"][0][6] == [[number["A"], 1, 0.9, 0.25, 0, 0.5, 1, 1.0]]
    assert shown["text"][2][6] == [
        [number["D"], 1, 0.8, 0.25, 0, 0.5, 1, 1.0],
        [number["C"], 3, 0.1, 0.2, 0, -1.5],
    ]
    assert shown["visual"][2] == ["b.png", -1, 0.7, -1, [-1, 0.7], None, []]
    # By falling mass.
    assert shown["couplings"] == [
        [0, 0, 0.5, [number["A"], number["F"], number["P"]]],
        [2, 0, 0.3, [number["D"], number["P"]]],
        [1, 1, 0.1, []],
    ]
    described = {one[0]: one[1:] for one in values["entities"]}
    assert described["A"] == ["Title A", "who A is", "", ""]
    assert described["P"][2] and described["Q"][2] and described["P"][2] != described["Q"][2]


def test_accuracy_alone_stands_beside_joint(pictures: Path) -> None:
    page = written(
        pictures, [joint("d"), joint("e"), LinkedDocument(document("f", (None, NIL, "C")), (link("A"),) * 3)]
    )
    assert scores(page) == [
        ["", "mentions", "NIL", "low", "alone", "joint", "changed"],
        # The third document, in which nothing was coupled, counts the same on both sides; its NIL does not count.
        ["text", "9 7 with gold", "0", "0", f"{4 / 7:.1%}", f"{4 / 7:.1%}", "4 +2 −2"],
        ["pictures", "6 4 with gold", "4", "2", f"{4 / 4:.1%}", f"{2 / 4:.1%}", "2 +0 −2"],
    ]
    buttons = [text for attributes, text in page.find("button") if "data-show" in attributes]
    assert buttons == ["All 15", "Wrong 6", "NIL 5", "Low confidence 2", "Modalities disagree 6", "Unlabelled 1"]
    verdicts = [text for _, text in page.find("span", "verdict")]
    assert verdicts[0] == "text 2 of 3 right · pictures 2 of 3 right · 2 NIL · 3 disagree · 1 low"


def scores(page: Page) -> list[list[str]]:
    """The rows of the table above the documents."""
    return rows(page, "<caption")


def test_documents_with_most_errors_come_first(pictures: Path) -> None:
    good = LinkedDocument(document("good"), (link("A"), link("B"), link("C")))
    page = written(pictures, [good, joint("bad"), good, joint("bad too")])
    assert [text for _, text in page.find("h2")] == ["bad", "bad too", "good", "good"]
    found = [attributes for attributes, _ in page.find("li", "card")]
    assert [one["data-place"] for one in found] == ["1", "3", "0", "2"]
    assert [one["data-state"] for one in found] == ["wrong nil low disagree"] * 2 + [""] * 2
    values = {attributes["value"] or "" for attributes, _ in page.find("option")}
    keys = {value.lstrip("-") for value in values if not value[0].isdigit()}
    assert len(keys) == 4 and all(f"data-{key}" in one for key in keys for one in found)
    few = written(pictures, [good, joint("bad"), good], limit=1)
    assert [text for _, text in few.find("h2")] == ["bad"]
    assert few.find("p", "part")[0][1] == (
        "1 of 3 documents are shown, those with the most errors. The table above counts all of them."
    )
    assert scores(few)[1][1] == "9"


def test_titles_names_and_texts_are_escaped_everywhere(pictures: Path) -> None:
    text = f"Ann {EVIL} Bob & Cy \x00\ud800"
    one = Document(
        EVIL,
        text,
        title=f"{EVIL}!",
        text_mentions=(TextMention(4, 4 + len(EVIL), EVIL, "A"), TextMention(5, 9, text[5:9], EVIL)),
        visual_mentions=(VisualMention(f"{'x' * 9}<i>.png", None, EVIL, extra={"confidence": EVIL}),),
        images=('"><script>alert(2)</script>.png',),
    )
    odd = (ScoredCandidate(EVIL, 0.5, 0.0, {EVIL: 1.0}),)
    evil = LinkedDocument(one, (Link(EVIL, 0.5, odd),) * 2, (Link("A", 0.5, odd),), couplings=(Coupling(0, 0, 1.0),))
    known = cards(pictures, A=EVIL) | {"B": EntityCard("B", "B", type=EVIL)}
    page = written(pictures, [evil, evil], cards=known, title=EVIL, protocol=EVIL)
    page.check_self_contained(scripts=2)
    assert "<script>alert" not in page.source and "<!--" not in page.source
    assert page.find("title")[0][1] == page.find("h1")[0][1] == EVIL and page.find("h2")[0][1] == f"{EVIL}!"
    assert texts(page) == [text.replace("\x00", "�").replace("\ud800", "�")] * 2
    values = data(page)
    assert values["columns"] == [EVIL] and [EVIL, EVIL, "not in the knowledge base", "", ""] in values["entities"]
    assert [EVIL, text[5:9]] == [mention[0] for mention in values["documents"][0]["text"]]


def test_mentions_that_overlap_and_unicode_keep_the_text(pictures: Path) -> None:
    text = "𝄞 Zoë\u0301 in “New York Times”\n\n李安 שלום"
    spans = [(2, 6), (11, 25), (11, 19), (11, 19), (28, 30), (31, 35)]
    one = Document("d", text, text_mentions=tuple(TextMention(a, b, text[a:b], "A") for a, b in spans))
    page = written(pictures, [LinkedDocument(one, (link("A"),) * len(spans))])
    assert texts(page) == [text.replace("New York", "New York+")]
    found = anchors(page)
    assert [found[f"d0-t{place}"][1] for place in range(6)] == ["Zoë\u0301", " Times", "New York", "+", "李安", "שלום"]
    # Every piece of a mention leads to it, and the tab key reaches each mention once.
    assert {a["href"] for a, _ in page.find("a", "m")} == {f"#d0-t{place}" for place in range(6)}
    assert len([a for a, _ in page.find("a", "m") if a.get("tabindex") is None]) == 6


def test_documents_of_one_modality_and_without_gold(pictures: Path) -> None:
    plain = document("none", (None, None, None))
    text = LinkedDocument(plain, (link("A"), link("B", 0.2), Link(NIL, 0.9)))
    page = written(pictures, [text])
    page.check_self_contained(scripts=2)
    assert scores(page) == [["", "mentions", "NIL", "low"], ["text", "3", "1", "1"]]
    assert [words for words, _ in anchors(page).values()] == (
        [["m", "unlabelled"], ["m", "unlabelled", "low"], ["m", "unlabelled", "nil"]]
    )
    # Its pictures are shown, though nothing is linked in them.
    assert len(page.find("figure")) == 2
    seen = Document("seen", "", visual_mentions=plain.visual_mentions)
    page = written(pictures, [LinkedDocument(seen, (), (link("P"), link("Q"), link("Q")))])
    assert texts(page) == [] and len(page.find("div", "single")) == 1 and len(page.find("a", "box")) == 3
    words = LinkedDocument(Document("d", TEXT, text_mentions=plain.text_mentions), (link("A"),) * 3)
    page = written(pictures, [words])
    assert texts(page) == [TEXT] and page.find("figure") == [] == page.find("svg")
    page = written(pictures, [LinkedDocument(Document("empty", ""))])
    assert [text for _, text in page.find("h2")] == ["empty"]
    assert written(pictures, []).find("h2") == []


def unlabelled(id: str, *scores: float) -> LinkedDocument:
    """Ann, Bob and Cy without labels, each linked to A."""
    return LinkedDocument(document(id, (None, None, None)), tuple(link("A", score) for score in scores))


def test_without_labels_nothing_is_said_to_be_right_or_wrong(pictures: Path) -> None:
    page = written(pictures, [unlabelled("a", 0.9, 0.9, 0.9), unlabelled("b", 0.1, 0.2, 0.9)])
    body = re.sub(r"<(script|style).*?</\1>", "", page.source, flags=re.DOTALL).replace("right arrow", "arrow")
    assert not re.search(r"\b(right|wrong|gold|errors?)\b|✓|✗", body, re.IGNORECASE)
    assert {"right", "wrong"}.isdisjoint(word for words, _ in anchors(page).values() for word in words)
    # In the order that they were given, with the doubtful ones at hand.
    assert [text for _, text in page.find("h2")] == ["a", "b"]
    assert [attributes["data-doubtful"] for attributes, _ in page.find("li", "card")] == ["0", "2"]


def test_what_the_filters_need_is_on_the_page(pictures: Path) -> None:
    page = written(pictures, [joint("d"), unlabelled("u", 0.1, 0.9, 0.9)])
    states = {str(attributes["data-show"]) for attributes, _ in page.find("button") if "data-show" in attributes}
    assert states == {"", "wrong", "nil", "low", "disagree", "unlabelled"}
    shown = {str(attributes["id"]): str(attributes["data-state"]).split() for attributes, _ in page.find("li", "card")}
    for name, words in shown.items():
        on_mentions = {word for id, (kinds, _) in anchors(page).items() if id.startswith(f"{name}-") for word in kinds}
        assert set(words) == on_mentions & states
    # A step of the choice of what is low is what the page was written with.
    chosen = [attributes["value"] for attributes, _ in page.find("option") if "selected" in attributes]
    assert chosen == ["0.5"] == [text for _, text in page.find("span", "low-step")]


def test_the_index_counts_and_leads_to_every_document(pictures: Path) -> None:
    page = written(pictures, [joint("d"), unlabelled("u", 0.1, 0.9, 0.9)])
    assert rows(page, '<details class="index"') == [
        ["Document", "text", "pictures", "Wrong", "NIL", "Low confidence", "Modalities disagree"],
        ["d", "3", "3", "2", "2", "1", "3"],
        ["u", "3", "0", "0", "0", "1", "0"],
    ]
    ids = {attributes["id"] for attributes, _ in page.find("li", "card")}
    assert {attributes["data-card"] for attributes, _ in page.find("tr") if "data-card" in attributes} == ids
    assert written(pictures, [joint()]).find("details", "index") == []


def test_addresses_in_a_text_are_text(pictures: Path) -> None:
    text = 'See https://example.org/a.png and <img src="http://example.org/b.png"> of Ann.'
    one = Document("d", text, text_mentions=(TextMention(text.index("Ann"), text.index("Ann") + 3, "Ann"),))
    page = written(pictures, [LinkedDocument(one, (link("A"),))])
    assert texts(page) == [text]
    for tag, attributes, _ in page.elements:
        values = [attributes.get(name) or "" for name in ("src", "href", "action", "style", "srcset", "data")]
        assert tag != "img" and not re.search("https?:|//", " ".join(values))


def test_pictures_without_a_mention_are_shown(pictures: Path) -> None:
    one = Document("d", "", visual_mentions=(VisualMention("a.png"),), images=("a.png", "c.png"))
    page = written(pictures, [LinkedDocument(one, (), (link("P"),))])
    assert [text for _, text in page.find("figcaption")] == ["Picture 1Actor P", "Picture 2no link of its own"]


def test_many_documents_leave_the_doubtful_ones_and_are_all_counted(pictures: Path) -> None:
    report = DocumentReport(limit=3)
    for place in range(200):
        report.add(unlabelled(f"d{place}", 0.9, 0.1 if place in (7, 150) else 0.9, 0.9))
    assert len(report._kept) == 3
    path = pictures / "report.html"
    report.write(path, {}, pictures, title="t")
    page = Page(path)
    # The first of those that have nothing to check fills the page; the order is that of the corpus.
    assert [text for _, text in page.find("h2")] == ["d0", "d7", "d150"]
    assert page.find("p", "part")[0][1].startswith("3 of 200 documents are shown, those with the most links to check.")
    assert scores(page)[1] == ["text", "600", "0", "2"]


def test_a_page_stays_below_its_size(pictures: Path) -> None:
    reports = [DocumentReport(megabytes=size) for size in (0.02, 1e-6)]
    shown = []
    for report in reports:
        for place in range(50):
            report.add(unlabelled(f"d{place}", 0.9, 0.9, 0.9))
        page = "".join(report.page({}, pictures, title="t"))
        shown.append(page.count('<li class="card'))
    # What there is room for, and one document whatever its size.
    assert 1 < shown[0] + 1 < 50 and shown[1] == 1
    with pytest.raises(ConfigError, match="megabytes = 0"):
        DocumentReport(megabytes=0)


def test_the_beginning_of_a_long_document_is_shown(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged_module, "CHARACTERS", 12)
    monkeypatch.setattr(judged_module, "PICTURES", 1)
    page = written(pictures, [joint()])
    assert texts(page) == [TEXT[:12]] and list(anchors(page)) == ["d0-t0", "d0-t1", "d0-v0"]
    said = [text for _, text in page.find("p", "part")]
    assert said == ["The first 12 of 19 characters are shown.", "1 of 2 pictures are shown."]
    # Counted whole.
    assert [row[1] for row in scores(page)] == ["mentions", "3", "3 2 with gold"]
    assert [one[:2] for one in data(page)["documents"][0]["couplings"]] == [[0, 0]]


def test_one_document_as_a_page_of_its_own(pictures: Path) -> None:
    path = pictures / "one.html"
    path.write_text(document_page(joint("r1"), cards(pictures), pictures, protocol="run x"), encoding="utf-8")
    page = Page(path)
    page.check_self_contained(scripts=2)
    # Its name stands there once, and there is nothing to search or to order.
    assert page.find("h1")[0][1] == "r1" and page.find("h2") == [] and page.find("details", "index") == []
    assert all("hidden" in attributes for attributes, _ in page.find("input"))
    assert len(anchors(page)) == 6


def test_a_page_of_its_own_names_no_file_that_cannot_be_read(pictures: Path) -> None:
    known = cards(pictures)
    lost = {id: replace(card, picture=pictures / f"lost-{id}.png") for id, card in known.items()}
    skips = SkipReport()
    page = document_page(joint("r1"), lost, pictures, skips=skips)
    assert "of the pictures on this page cannot be read." in page
    assert str(pictures) not in page and "lost-" not in page
    (examples,) = skips.examples.values()
    assert any(f"{pictures / 'lost-'}" in example for example in examples)


def test_cards_of_a_knowledge_base(pictures: Path) -> None:
    records = [Entity("A", "Ann", "person", "who", images=("x/a.png", "b.png")), Entity("B", "Bo")]
    build(records, pictures / "kb")
    kb = KnowledgeBase.open(pictures / "kb")
    assert kb_cards(kb, pictures)(["B", "A", "none"]) == {
        "A": EntityCard("A", "Ann", "who", pictures / "x/a.png", "person"), "B": EntityCard("B", "Bo"),
    }  # fmt: skip
    assert kb_cards(kb, None)(["A"])["A"].picture is None


def test_pictures_that_cannot_be_read_keep_their_links(pictures: Path) -> None:
    mentions = [
        VisualMention("lost.png", (1, 2, 3, 4)),
        VisualMention("lost.png"),
        VisualMention("a.png", (500, 0, 600, 9)),
    ]
    one = Document("d", "", visual_mentions=tuple(mentions))
    page = written(pictures, [LinkedDocument(one, (), (link("P"), link("C"), link("A")))])
    (notes,) = [text for _, text in page.find("details", "notes") if "cannot be read" in text]
    assert notes.startswith("2 of the pictures on this page cannot be read")
    assert "lost.png" in notes and "lies outside the picture of 200 x 100 pixels" in notes
    assert [text for _, text in page.find("div", "missing")] == ["cannot be read"]
    styles = [str(a["style"]) for a, _ in page.find("a", "box")]
    # Of two that would cover each other the second is smaller.
    assert styles[0] == styles[2] == "left:0%;top:0%;width:100%;height:100%"
    assert styles[1] == "left:3%;top:3%;width:94%;height:94%"


@pytest.mark.parametrize("box", [(0, 0, 200, 100), (190.5, 90, 400, 300)])
def test_boxes_stay_on_their_picture(pictures: Path, box: Box) -> None:
    one = Document("d", "", visual_mentions=(VisualMention("a.png", box),))
    page = written(pictures, [LinkedDocument(one, (), (link("P"),))])
    values = [float(value) for value in re.findall(r":([\d.]+)%", str(page.find("a", "box")[0][0]["style"]))]
    assert min(values) >= 0 and values[0] + values[2] <= 100 and values[1] + values[3] <= 100


def test_numbers_that_are_none_are_said(pictures: Path) -> None:
    odd = (ScoredCandidate("A", math.nan, 0.0, {"prior": -math.inf}),)
    values = data(written(pictures, [LinkedDocument(document(), (Link("A", 0.5, odd),) * 3)]))
    assert values["documents"][0]["text"][0][6] == [[0, 1, "nan", 0.0, 0, "-inf"]]


def test_entities_are_asked_for_once(pictures: Path) -> None:
    asked: list[Sequence[str]] = []

    def ask(ids: Sequence[str]) -> dict[str, EntityCard]:
        asked.append(ids)
        return {}

    page = written(pictures, [joint("d"), joint("e")], cards=ask)
    assert len(asked) == 1 and sorted(asked[0]) == list("ABCDFPQ")
    assert ["A", "A", "not in the knowledge base", "", ""] in data(page)["entities"]


def test_a_failed_report_leaves_the_old_one(pictures: Path) -> None:
    path = pictures / "report.html"
    path.write_text("old")
    with pytest.raises(ConfigError, match="top = 0"):
        written(pictures, [], top=0)
    with pytest.raises(InputError, match="3 text mentions and 1 links"):
        written(pictures, [LinkedDocument(document(), (link("A"),))])
    assert path.read_text() == "old"


def crowded(size: tuple[int, int], entities: int) -> LinkedDocument:
    """A document of text x visual mentions, each pair coupled."""
    dice = random.Random(0)
    text = " ".join(f"Name{place:03d} says what there is to say of it." for place in range(size[0]))
    starts = [found.start() for found in re.finditer(r"Name\d+", text)]

    def chosen() -> Link:
        scores = {f"E{dice.randrange(entities)}": dice.random() for _ in range(12)}
        columns = {name: dice.gauss(0, 1) for name in ("prior", "surface", "context", "links", "mulrel", "transport")}
        found = tuple(ScoredCandidate(id, score, dice.random(), columns) for id, score in scores.items())
        return Link(found[0].entity, found[0].score, found)

    one = Document(
        "crowd",
        text,
        text_mentions=tuple(TextMention(start, start + 7, text[start : start + 7], "E1") for start in starts),
        visual_mentions=tuple(VisualMention(f"{place}.jpg", None, "E2") for place in range(size[1])),
    )
    links = [tuple(chosen() for _ in range(count)) for count in size]
    alone = LinkedDocument(one, tuple(chosen() for _ in range(size[0])), links[1])
    pairs = [Coupling(i, j, dice.random(), ("E1", "E3", "E2")) for i in range(size[0]) for j in range(size[1])]
    return LinkedDocument(one, links[0], links[1], couplings=tuple(pairs), alone=alone)


def test_a_large_document_is_there_whole_and_stays_small(tmp_path: Path) -> None:
    for place in range(41):
        noise = np.random.default_rng(place).integers(0, 256, (12, 8, 3), np.uint8)
        Image.fromarray(noise).resize((240, 360), Image.Resampling.BICUBIC).save(tmp_path / f"{place}.jpg")
    known = {f"E{number}": EntityCard(f"E{number}", f"Entity {number}", "x" * 300) for number in range(500)}
    page = written(tmp_path, [crowded((165, 41), 500)], cards=known)
    assert len(anchors(page)) == 165 + 41
    (shown,) = data(page)["documents"]
    assert len(shown["couplings"]) == 165 * 41
    assert {(text, visual) for text, visual, *_ in shown["couplings"]} == {
        (i, j) for i in range(165) for j in range(41)
    }
    style, rest = page.find("style")[0][1], len(page.source)
    rest -= len(style)
    assert style.count("data:image/jpeg") == 41
    # A document costs what its mentions, entities and couplings cost: nothing else grows with their product.
    assert rest < 165 * 41 * 40 + 500 * 350 + (165 + 41) * 1500 + 60_000


@pytest.mark.data
def test_a_corpus_of_real_photographs_fits_fifteen_megabytes(data_root: Path, tmp_path: Path) -> None:
    root = data_root / "movies" / "images"
    faces = sorted((root / "documents").glob("*.jpg"))[:40]
    portraits = sorted((root / "kb").glob("*.jpg"))[:40] or faces
    known = {
        f"E{number}": EntityCard(f"E{number}", f"Person {number}", "", path) for number, path in enumerate(portraits)
    }
    one = Document("d", "", visual_mentions=tuple(VisualMention(path.name, None, "E0") for path in faces))
    linked = LinkedDocument(one, (), tuple(link(f"E{number}") for number in range(len(faces))))
    path = tmp_path / "report.html"
    write_document_report(path, [linked], known, faces[0].parent, title="t", protocol="p")
    style = Page(path).find("style")[0][1]
    sizes = {
        kind: [len(rule) for rule in style.splitlines() if rule.startswith(f".{kind}") and "base64" in rule]
        for kind in "pe"
    }
    assert all(sizes.values())
    picture, portrait = (sum(sizes[kind]) / len(sizes[kind]) for kind in "pe")
    # movies test: 381 photographs, about 1,600 people shown, 2,633 mentions of some 1.5 kB.
    assert 381 * picture + 1600 * portrait + 2633 * 1500 < 15e6
