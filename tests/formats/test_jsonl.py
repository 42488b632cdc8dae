from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmel.document import (
    NIL,
    Alias,
    Candidate,
    Coupling,
    Document,
    Entity,
    Link,
    LinkedDocument,
    ScoredCandidate,
    TextMention,
    VisualMention,
)
from mmel.errors import InputError, SkipReport
from mmel.formats import jsonl

ADA = Document(
    id="d1",
    text="Ada met Babbage in London.",
    title="A meeting",
    text_mentions=(
        TextMention(0, 3, "Ada", "Q1", (Candidate("Q1", 0.75, 0), Candidate("Q9")), "Ada Lovelace", {"tag": "PER"}),
        TextMention(8, 15, "Babbage", NIL, ()),
        TextMention(19, 25, "London"),
    ),
    visual_mentions=(
        VisualMention("images/a.jpg", (1.5, 2, 30, 40), "Q1", {"quality": 0.5}),
        VisualMention("b.jpg"),
    ),
    extra={"source": {"page": 3}},
)


def texts(**options: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), **options)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(texts(max_size=40))
    spans = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda span: span[0] < span[1])
    entity = st.none() | st.just(NIL) | texts(min_size=1, max_size=5)
    mentions = []
    for start, end in draw(st.lists(spans, max_size=4)) if text else []:
        candidates = draw(st.none() | st.lists(st.builds(Candidate, texts(min_size=1), st.floats(0, 1)), max_size=2))
        listed = None if candidates is None else tuple(candidates)
        mentions.append(TextMention(start, end, text[start:end], draw(entity), listed, draw(st.none() | texts())))
    return Document(
        id=draw(texts(min_size=1)),
        text=text,
        title=draw(texts(max_size=5)),
        text_mentions=tuple(mentions),
        visual_mentions=tuple(
            draw(st.lists(st.builds(VisualMention, texts(), st.none() | st.just((0.0, 0.5, 1.0, 2.0)), entity)))
        ),
        extra=draw(st.dictionaries(texts().map("x_{}".format), st.none() | st.booleans() | texts(), max_size=2)),
        images=tuple(draw(st.lists(texts(), max_size=2))),
    )


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_documents_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    assert jsonl.write_documents(path, [ADA, Document("empty", "")]) == 2
    assert list(jsonl.read_documents(path)) == [ADA, Document("empty", "")]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # documents are large to draw
@given(st.lists(documents(), max_size=3))
def test_any_documents_round_trip(tmp_path_factory: pytest.TempPathFactory, listed: list[Document]) -> None:
    path = tmp_path_factory.mktemp("any") / "d.jsonl"
    jsonl.write_documents(path, listed)
    assert list(jsonl.read_documents(path)) == listed


def test_lines_follow_the_documented_form(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    jsonl.write_documents(path, [ADA])
    record = json.loads(path.read_text("utf-8"))
    assert list(record) == ["id", "title", "text", "text_mentions", "visual_mentions", "source"]
    assert record["text_mentions"][0] == {
        "start": 0,
        "end": 3,
        "text": "Ada",
        "entity": "Q1",
        "name": "Ada Lovelace",
        "candidates": [{"id": "Q1", "prior": 0.75, "rank": 0}, {"id": "Q9"}],
        "tag": "PER",
    }
    assert record["text_mentions"][2] == {"start": 19, "end": 25, "text": "London"}
    assert record["visual_mentions"][1] == {"image": "b.jpg", "box": None}


def test_unicode_line_separators_stay_inside_a_text(tmp_path: Path) -> None:
    document = Document("d", "one\u2028two\x85three\x0bfour\r\nfive")
    jsonl.write_documents(tmp_path / "d.jsonl", [document])
    assert list(jsonl.read_documents(tmp_path / "d.jsonl")) == [document]


def test_ten_thousand_mentions(tmp_path: Path) -> None:
    mentions = tuple(TextMention(5 * i, 5 * i + 4, "name", f"Q{i}") for i in range(10_000))
    document = Document("large", "name " * 10_000, text_mentions=mentions)
    jsonl.write_documents(tmp_path / "d.jsonl", [document])
    assert list(jsonl.read_documents(tmp_path / "d.jsonl")) == [document]


GOOD = {"id": "good", "text": "x"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"id": "a", "text": "Ada\n', "is no JSON"),
        ('["a"]\n', "expected an object"),
        ('{"id": "a", "text": "b", "score": NaN}\n', "NaN is no JSON number"),
        ("[" * 100_000 + "\n", "is no JSON"),
        ('{"id": "a", "text": "\\ud800"}\n', "half of a surrogate pair"),
        ({"text": "b"}, "field 'id': is missing"),
        ({"id": "", "text": "b"}, "field 'id': is empty"),
        ({"id": "a", "text": 3}, "field 'text': expected a string, found 3"),
        ({"id": "a", "text": "b", "text_mentions": {}}, "field 'text_mentions': expected a list"),
        ({"id": "a", "text": "b", "text_mentions": ["b"]}, "field 'text_mentions': expected an object, found 'b'"),
        ({"id": "a", "text": "b", "text_mentions": [{"start": True, "end": 1, "text": "b"}]}, "text_mentions.start"),
        ({"id": "a", "text": "b", "text_mentions": [{"start": 0, "text": "b"}]}, "'text_mentions.end': is missing"),
        ({"id": "a", "text": "bc", "text_mentions": [{"start": 0, "end": 1, "text": "c"}]}, "spells 'b', the mention"),
        (
            {"id": "a", "text": "bc", "text_mentions": [{"start": 1, "end": 5, "text": "c"}]},
            "span [1, 5) is none of the",
        ),
        ({"id": "a", "text": "bc", "text_mentions": [{"start": -1, "end": 2, "text": "c"}]}, "document 'a'"),
        (
            {
                "id": "a",
                "text": "b",
                "text_mentions": [{"start": 0, "end": 1, "text": "b", "candidates": [{"id": "c", "prior": 2}]}],
            },
            "a probability is between 0 and 1",
        ),
        ({"id": "a", "text": "", "visual_mentions": [{"box": None}]}, "'visual_mentions.image': is missing"),
        ({"id": "a", "text": "", "visual_mentions": [{"image": "i", "box": [1, 2, 3]}]}, "is no box"),
        ({"id": "a", "text": "", "visual_mentions": [{"image": "i", "box": [3, 2, 1, 4]}]}, "is no box"),
        ('{"id": "a", "text": "", "visual_mentions": [{"image": "i", "box": [0, 0, 1, 1e999]}]}\n', "is no box"),
    ],
)
def test_a_bad_document_names_its_place_and_is_skipped_with_a_report(tmp_path: Path, bad: object, message: str) -> None:
    path = write(tmp_path / "d.jsonl", GOOD, bad, GOOD)
    with pytest.raises(InputError) as caught:
        list(jsonl.read_documents(path))
    assert f"{path}:2: " in str(caught.value) and message in str(caught.value) and "Remedy:" in str(caught.value)
    skips = SkipReport()
    assert [document.id for document in jsonl.read_documents(path, skips=skips)] == ["good", "good"]
    assert skips.counts == {"broken record": 1} and skips.exit_code == 1


def test_wrong_spans_pass_where_no_check_is_wanted(tmp_path: Path) -> None:
    record = {"id": "a", "text": "bc", "text_mentions": [{"start": 0, "end": 1, "text": "c"}]}
    path = write(tmp_path / "d.jsonl", record)
    assert [document.id for document in jsonl.read_documents(path, check=False)] == ["a"]


def test_a_line_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "caf\xe9"}\n{"id": "c", "text": "x"}\n')
    with pytest.raises(InputError, match=r"d\.jsonl:2: is not UTF-8: byte 0xe9"):
        list(jsonl.read_documents(path))
    skips = SkipReport()
    assert [document.id for document in jsonl.read_documents(path, skips=skips)] == ["a", "c"]
    assert skips.counts == {"line is not UTF-8": 1}


def test_a_file_cut_short_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    jsonl.write_documents(path, [ADA, ADA])
    path.write_bytes(path.read_bytes()[:-30])
    reader = jsonl.read_documents(path)
    assert next(reader) == ADA
    with pytest.raises(InputError, match="2: is no JSON"):
        next(reader)


def test_empty_lines_and_a_byte_order_mark_are_no_records(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 7, "text": "x", "title": null}\r\n\r\n  \n')
    assert list(jsonl.read_documents(path)) == [Document("7", "x")]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        list(jsonl.read_documents(tmp_path / "none.jsonl", skips=SkipReport()))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (Document("d", "x", extra={"text": "y"}), "extra key 'text'"),
        (Document("d", "x", extra={"n": float("nan")}), "without a JSON form"),
        (Document("d", "\ud800"), "without a JSON form"),
        (Document("d", "x", extra={"n": {1, 2}}), "without a JSON form"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, document: Document, message: str) -> None:
    path = write(tmp_path / "d.jsonl", GOOD)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        jsonl.write_documents(path, [ADA, document])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


ENTITIES = [
    Entity(
        "F1",
        "A film (1950)",
        "film",
        "A film.",
        (Alias("A film", 3), Alias("Film", 0.5)),
        ("images/f.jpg",),
        ("P1",),
        12,
        {"year": 1950},
    ),
    Entity("P1", "Zoë"),
]


def test_entities_round_trip_with_their_extra_keys(tmp_path: Path) -> None:
    path = tmp_path / "kb.jsonl"
    assert jsonl.write_entities(path, ENTITIES) == 2
    assert list(jsonl.read_entities(path)) == ENTITIES
    assert json.loads(path.read_text("utf-8").splitlines()[0])["year"] == 1950


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"title": "t"}, "field 'id': is missing"),
        ({"id": "a", "aliases": ["x"]}, "field 'aliases': expected an object, found 'x'"),
        ({"id": "a", "aliases": [{"count": 1}]}, "'aliases.name': is missing"),
        ({"id": "a", "aliases": [{"name": "x", "count": -1}]}, "'aliases.count'"),
        ({"id": "a", "aliases": [{"name": "x", "count": "1"}]}, "'aliases.count'"),
        ({"id": "a", "links": [1]}, "field 'links': expected a list of strings"),
        ({"id": "a", "popularity": -3}, "a count is 0 or more"),
    ],
)
def test_a_bad_entity_names_its_place(tmp_path: Path, bad: object, message: str) -> None:
    path = write(tmp_path / "kb.jsonl", {"id": "ok"}, bad)
    with pytest.raises(InputError, match=r"kb\.jsonl:2: ") as caught:
        list(jsonl.read_entities(path))
    assert message in str(caught.value)
    skips = SkipReport()
    assert list(jsonl.read_entities(path, skips)) == [Entity("ok", "ok")]
    assert skips.counts.total() == 1


LINKED = LinkedDocument(
    ADA,
    (
        Link("Q1", 0.9, (ScoredCandidate("Q1", 0.9, 0.75, {"partner": 0.5}), ScoredCandidate(NIL, 0.1, 0.0))),
        Link(NIL, 0.6),
        Link("Q84", 1.0, (ScoredCandidate("Q84", 1.0, 0.5),)),
    ),
    (Link("Q1", 0.8), Link(NIL, 0.7)),
    {"model": "run-1", "seed": 3},
    (Coupling(0, 0, 0.5, ("Q1", "Q7", "Q1")), Coupling(2, 1, 0.25)),
)


def test_linked_documents_follow_the_documented_form(tmp_path: Path) -> None:
    path = tmp_path / "linked.jsonl"
    assert jsonl.write_linked(path, [LINKED]) == 1
    record = json.loads(path.read_text("utf-8"))
    assert record["doc_id"] == "d1" and record["couplings"] == [[0, 0, 0.5], [2, 1, 0.25]]
    assert record["paths"] == [["Q1", "Q7", "Q1"], []]
    assert record["meta"] == {"model": "run-1", "seed": 3}
    first, second, third = record["text_mentions"]
    assert (first["entity"], first["score"], first["p_nil"], first["gold"]) == ("Q1", 0.9, 0.1, "Q1")
    assert first["candidates"][0] == {"id": "Q1", "score": 0.9, "prior": 0.75, "columns": {"partner": 0.5}}
    assert second["entity"] is None and second["gold"] == NIL and second["p_nil"] is None
    assert "gold" not in third
    assert record["visual_mentions"][0]["box"] == [1.5, 2, 30, 40]


def test_linked_documents_round_trip_but_for_the_candidates_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "linked.jsonl"
    jsonl.write_linked(path, [LINKED])
    (back,) = jsonl.read_linked(path)
    assert (back.text_links, back.visual_links, back.meta) == (LINKED.text_links, LINKED.visual_links, LINKED.meta)
    assert back.couplings == LINKED.couplings
    assert back.document.extra == ADA.extra and back.document.visual_mentions == ADA.visual_mentions
    for mention, source in zip(back.document.text_mentions, ADA.text_mentions, strict=True):
        assert (mention.start, mention.end, mention.text, mention.entity, mention.name, mention.extra) == (
            source.start,
            source.end,
            source.text,
            source.entity,
            source.name,
            source.extra,
        )


def test_a_link_too_few_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 text mentions and 1 links"):
        jsonl.write_linked(tmp_path / "l.jsonl", [LinkedDocument(ADA, LINKED.text_links[:1], LINKED.visual_links)])


@pytest.mark.data
def test_real_documents_and_entities(data_root: Path, tmp_path: Path) -> None:
    expected = {"train": (589, 10466, 1757), "val-scenes": (334, 1057, 393), "test-mixed": (88, 1195, 422)}
    for split, counts in expected.items():
        listed = list(jsonl.read_documents(data_root / "movies" / f"documents.{split}.jsonl"))
        text = sum(len(document.text_mentions) for document in listed)
        assert (len(listed), text, sum(len(document.visual_mentions) for document in listed)) == counts
    jsonl.write_documents(tmp_path / "copy.jsonl", listed)
    assert list(jsonl.read_documents(tmp_path / "copy.jsonl")) == listed
    entities = list(jsonl.read_entities(data_root / "movies" / "kb.jsonl"))
    assert len(entities) == 77_150
    assert len({alias.name for entity in entities for alias in entity.aliases}) == 93_080
    assert sum(bool(entity.images) for entity in entities) == 2_791
