from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmel.document import NIL, Document, TextMention, VisualMention
from mmel.errors import InputError, MissingDependencyError, SkipReport
from mmel.formats import nif

pytest.importorskip("rdflib")

PREFIXES = """@prefix nif: <http://persistence.uni-leipzig.org/nlp2rdf/ontologies/nif-core#> .
@prefix itsrdf: <http://www.w3.org/2005/11/its/rdf#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix dbr: <http://dbpedia.org/resource/> .
"""
# As annotators write it: sub-classes, a sentence, other range forms, typed and long literals, no anchor.
FOREIGN = (
    PREFIXES
    + '''
<http://example.org/doc/7#offset_0_27> a nif:Context , nif:OffsetBasedString ;
    nif:beginIndex "0"^^xsd:nonNegativeInteger ; nif:endIndex "27"^^xsd:nonNegativeInteger ;
    nif:isString """Ada met "Bo" \\U0001F600 in Turin."""^^xsd:string .
<http://example.org/doc/7#offset_18_23> a nif:Phrase ;
    nif:anchorOf "Turin" ; nif:referenceContext <http://example.org/doc/7#offset_0_27> ;
    nif:beginIndex "18"^^xsd:int ; nif:endIndex "23"^^xsd:int ; itsrdf:taIdentRef dbr:Turin .
<http://example.org/doc/7#offset_0_3> a nif:Phrase ; nif:anchorOf "Ada" ;
    nif:referenceContext <http://example.org/doc/7#offset_0_27> ;
    itsrdf:taIdentRef <https://en.wikipedia.org/wiki/Ada_(Zo%C3%AB%27s_sister)> .
<http://example.org/doc/7#char=9,11> a nif:RFC5147String ; nif:anchorOf "Bo" ;
    nif:referenceContext <http://example.org/doc/7#offset_0_27> ;
    itsrdf:taIdentRef <http://aksw.org/notInWiki/Bo> .
<http://example.org/doc/7#char=13,14> a nif:Phrase ;
    nif:referenceContext <http://example.org/doc/7#offset_0_27> .
<http://example.org/doc/7#char=0,24> a nif:Sentence ;
    nif:referenceContext <http://example.org/doc/7#offset_0_27> .
'''
)


def test_what_other_annotators_write() -> None:
    (document,) = nif.parse_nif(FOREIGN)
    assert document.id == "http://example.org/doc/7"
    assert document.text == 'Ada met "Bo" \U0001f600 in Turin.'
    assert document.text_mentions == (
        TextMention(0, 3, "Ada", "Ada (Zoë's sister)"),
        TextMention(9, 11, "Bo", NIL),
        TextMention(13, 14, "\U0001f600"),
        TextMention(18, 23, "Turin", "Turin"),
    )
    assert nif.parse_nif(FOREIGN, document_base="http://example.org/doc/")[0].id == "7"
    kept = nif.parse_nif(FOREIGN, entity_bases=["http://dbpedia.org/"])[0].text_mentions
    assert [mention.entity for mention in kept][3] == "resource/Turin"


def test_the_written_form() -> None:
    mentions = (TextMention(0, 3, "Ada", "Ada Moretti"), TextMention(4, 6, "Bo", NIL), TextMention(7, 9, "Cy"))
    document = Document("a/1", "Ada Bo Cy\n", "Head", mentions)
    assert nif.format_nif([document], "http://example.org/") == (
        "@prefix nif: <http://persistence.uni-leipzig.org/nlp2rdf/ontologies/nif-core#> .\n"
        "@prefix itsrdf: <http://www.w3.org/2005/11/its/rdf#> .\n"
        "@prefix dcterms: <http://purl.org/dc/terms/> .\n"
        "@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .\n"
        """
<http://example.org/a%2F1#char=0,10> a nif:Context , nif:RFC5147String ;
    nif:isString "Ada Bo Cy\\n" ;
    dcterms:title "Head" ;
    nif:beginIndex "0"^^xsd:nonNegativeInteger ;
    nif:endIndex "10"^^xsd:nonNegativeInteger
.
<http://example.org/a%2F1#char=0,3> a nif:Phrase , nif:RFC5147String ;
    nif:referenceContext <http://example.org/a%2F1#char=0,10> ;
    nif:anchorOf "Ada" ;
    itsrdf:taIdentRef <http://en.wikipedia.org/wiki/Ada_Moretti> ;
    nif:beginIndex "0"^^xsd:nonNegativeInteger ;
    nif:endIndex "3"^^xsd:nonNegativeInteger
.
<http://example.org/a%2F1#char=4,6> a nif:Phrase , nif:RFC5147String ;
    nif:referenceContext <http://example.org/a%2F1#char=0,10> ;
    nif:anchorOf "Bo" ;
    itsrdf:taIdentRef <http://aksw.org/notInWiki/Bo> ;
    nif:beginIndex "4"^^xsd:nonNegativeInteger ;
    nif:endIndex "6"^^xsd:nonNegativeInteger
.
<http://example.org/a%2F1#char=7,9> a nif:Phrase , nif:RFC5147String ;
    nif:referenceContext <http://example.org/a%2F1#char=0,10> ;
    nif:anchorOf "Cy" ;
    nif:beginIndex "7"^^xsd:nonNegativeInteger ;
    nif:endIndex "9"^^xsd:nonNegativeInteger
.
"""
    )
    assert nif.parse_nif(nif.format_nif([document], "http://example.org/"), "http://example.org/") == [document]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(TEXTS)
    span = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda each: each[0] < each[1])
    spans = sorted(draw(st.sets(span, max_size=4))) if text else []
    entity = st.none() | st.just(NIL) | NAMES
    mentions = tuple(TextMention(start, end, text[start:end], draw(entity)) for start, end in spans)
    return Document(draw(NAMES), text, draw(TEXTS), mentions)


@settings(max_examples=150, deadline=None)
@given(st.lists(documents(), max_size=3, unique_by=lambda document: document.id))
@example([Document("d", '\x00\x01\t\b\f\r\n\\"\'\x7f\x85\u2028\u2029\ufeff\ufffe\uffff\U0001f600"""\\u0041', "\ufeff")])
@example([Document("#char=0,1", "é", "", (TextMention(0, 1, "é", "a_b c%20d\x00/?#<>"),))])
def test_any_documents_round_trip(listed: list[Document]) -> None:
    assert nif.parse_nif(nif.format_nif(listed)) == listed


@given(NAMES, st.sampled_from(nif.ENTITY_BASES))
def test_entity_uris_round_trip(entity: str, base: str) -> None:
    uri = nif.entity_uri(entity, base)
    assert nif.entity_of(uri) == entity
    assert uri.isascii() and not set(uri) & set(' <>"{}|^`\\')


def test_entity_uris() -> None:
    assert nif.entity_uri("AC/DC (band)") == "http://en.wikipedia.org/wiki/AC/DC_(band)"
    assert nif.entity_uri("Q42", "http://www.wikidata.org/entity/") == "http://www.wikidata.org/entity/Q42"
    assert nif.entity_uri("http://example.org/é x") == "http://example.org/é%20x"
    assert nif.entity_of("http://example.org/other") == "http://example.org/other"
    assert nif.entity_of("http://aksw.org/notInWiki/Ada") == NIL


def test_a_context_that_is_a_phrase_itself() -> None:
    whole = PREFIXES + (
        '<http://example.org/d#char=0,3> a nif:Context , nif:Phrase ; nif:isString "Ada" ;'
        ' nif:beginIndex "0" ; nif:endIndex "3" ; itsrdf:taIdentRef dbr:Ada .'
    )
    assert nif.parse_nif(whole, "http://example.org/")[0].text_mentions == (TextMention(0, 3, "Ada", "Ada"),)


def test_files(tmp_path: Path) -> None:
    listed = [Document("1", "Ada\r\nBo", text_mentions=(TextMention(5, 7, "Bo", "Bo"),)), Document("2", "")]
    assert nif.write_nif(tmp_path / "d.ttl", listed) == 2
    assert list(nif.read_nif(tmp_path / "d.ttl")) == listed
    (tmp_path / "d.ttl").write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not UTF-8: byte 0xff"):
        list(nif.read_nif(tmp_path / "d.ttl"))


def test_pictures_have_no_place_in_nif() -> None:
    document = Document("1", "Ada", visual_mentions=(VisualMention("a.jpg"),), extra={"key": 1})
    assert nif.parse_nif(nif.format_nif([document])) == [Document("1", "Ada")]


def test_two_mentions_of_one_span_are_refused(tmp_path: Path) -> None:
    twice = Document("1", "Ada", text_mentions=(TextMention(0, 3, "Ada", "A"), TextMention(0, 3, "Ada", "B")))
    with pytest.raises(InputError, match=r"two mentions have the span \[0, 3\)"):
        nif.write_nif(tmp_path / "d.ttl", [twice])
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="half of a surrogate pair"):
        nif.format_nif([Document("1", "\ud800")])


@pytest.mark.parametrize(
    ("turtle", "message"),
    [
        (FOREIGN[:-60], "is no Turtle"),
        (FOREIGN.replace('"Ada" ;', '"Ida" ;'), "spells 'Ada', the mention says 'Ida'"),
        (FOREIGN.replace('"23"', '"99"'), "span [18, 99)"),
        (FOREIGN.replace('"18"', '"x"'), "has 'x' as nif:beginIndex"),
        (FOREIGN.replace("nif:isString", "nif:other"), "has no nif:isString"),
        (FOREIGN.replace("dbr:Turin .", "dbr:Turin , dbr:Rome ."), "refers to <http://dbpedia.org/resource/"),
    ],
)
def test_bad_turtle(turtle: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "d.ttl"
    path.write_text(turtle, "utf-8")
    with pytest.raises(InputError) as caught:
        list(nif.read_nif(path))
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_a_broken_context_may_be_skipped() -> None:
    skips = SkipReport()
    good = nif.format_nif([Document("1", "Ada")])
    broken = FOREIGN.replace('"Ada" ;', '"Ida" ;')
    assert nif.parse_nif(broken + good, skips=skips) == [Document("1", "Ada")]
    assert skips.counts == {"broken context": 1}


def test_without_rdflib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdflib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mmel\[nif\]'"):
        nif.parse_nif("")
    assert nif.format_nif([Document("1", "Ada")])
