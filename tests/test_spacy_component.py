from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy", reason="spaCy is not installed: pip install 'mmel[spacy]'")

import spacy
from spacy.tokens import Doc, DocBin, Span

from mmel.detection import Span as Place
from mmel.document import NIL, Document, Link, LinkedDocument, TextMention, VisualMention
from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import read_documents
from mmel.linker import Linker
from mmel.spacy_component import LABEL, SpacyLinker

KNOWN = {"Ada Moretti": "E1", "Ada": "E2", "Bo": NIL, "Turin": "E3", "Bo-Cy": "E4"}


class Toy:
    """Annotates with the words it knows, longest first, links them by name, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[Document]] = []
        self.folders: set[Path | None] = set()

    def annotate(self, documents: Sequence[Document], pictures: Path | None = None) -> list[Document]:
        self.asked.append(list(documents))
        self.folders.add(pictures)
        return [self._annotated(one) for one in documents]

    def _annotated(self, one: Document) -> Document:
        mentions: list[TextMention] = []
        for name in sorted(KNOWN, key=len, reverse=True):
            at = one.text.find(name)
            if at >= 0 and not any(m.start < at + len(name) and at < m.end for m in mentions):
                mentions.append(TextMention(at, at + len(name), name, extra={"probability": 0.5}))
        text = one.text_mentions or tuple(sorted(mentions, key=lambda mention: mention.start))
        return Document(
            one.id, one.text, text_mentions=text, visual_mentions=tuple(VisualMention(image) for image in one.images),
            images=one.images,
        )  # fmt: skip

    def link(self, documents: Sequence[Document], pictures: Path | None = None) -> list[LinkedDocument]:
        self.folders.add(pictures)
        return [
            LinkedDocument(
                one,
                tuple(Link(KNOWN.get(m.text, "E0"), 0.75) for m in one.text_mentions),
                tuple(Link("E9", 0.25) for _ in one.visual_mentions),
            )
            for one in documents
        ]


def component(toy: Toy, **settings: Any) -> SpacyLinker:
    return SpacyLinker(toy, **settings)  # type: ignore[arg-type]


def told(doc: Doc) -> list[tuple[str, str, str, float | None]]:
    return [(ent.text, ent.label_, ent.kb_id_, ent._.mmel_score) for ent in doc.ents]


def test_names_are_found_where_the_document_has_no_entity() -> None:
    doc = component(Toy())(spacy.blank("en")("Ada Moretti and Bo met in Turin."))
    assert told(doc) == [
        ("Ada Moretti", LABEL, "E1", 0.75),
        ("Bo", LABEL, "NIL", 0.75),
        ("Turin", LABEL, "E3", 0.75),
    ]
    linked = doc._.mmel
    assert isinstance(linked, LinkedDocument) and linked.document.text == doc.text
    assert [link.entity for link in linked.text_links] == ["E1", NIL, "E3"]
    assert linked.document.text_mentions[0].extra == {"probability": 0.5}


def test_entities_of_the_document_are_linked_and_no_other() -> None:
    doc = spacy.blank("en")("Ada Moretti and Bo met in Turin.")
    doc.ents = [Span(doc, 0, 1, label="PERSON", span_id="kept"), Span(doc, 6, 7, label="GPE")]
    toy = Toy()
    doc = component(toy)(doc)
    assert told(doc) == [("Ada", "PERSON", "E2", 0.75), ("Turin", "GPE", "E3", 0.75)]
    assert doc.ents[0].id_ == "kept"
    assert [mention.text for mention in toy.asked[0][0].text_mentions] == ["Ada", "Turin"]


def test_labels_choose_what_is_linked() -> None:
    doc = spacy.blank("en")("Ada Moretti and Bo met in Turin.")
    doc.ents = [Span(doc, 0, 1, label="PERSON"), Span(doc, 6, 7, label="GPE", kb_id="Q495")]
    assert told(component(Toy(), labels=["PERSON"])(doc)) == [
        ("Ada", "PERSON", "E2", 0.75),
        ("Turin", "GPE", "Q495", None),
    ]


def test_an_entity_of_another_label_stays_though_its_name_is_found() -> None:
    doc = spacy.blank("en")("Ada Moretti and Bo met in Turin.")
    doc.ents = [Span(doc, 6, 7, label="GPE", kb_id="Q495")]
    doc = component(Toy(), labels=["PERSON"])(doc)
    assert told(doc)[-1] == ("Turin", "GPE", "Q495", None)
    assert [ent.label_ for ent in doc.ents] == [LABEL, LABEL, "GPE"]


def test_an_entity_that_is_there_is_never_cut_by_a_name_that_is_found() -> None:
    doc = spacy.blank("en")("Ada Moretti and Bo met in Turin.")
    doc.ents = [Span(doc, 1, 4, label="ODD")]
    doc = component(Toy(), labels=["PERSON"])(doc)
    assert told(doc) == [("Moretti and Bo", "ODD", "", None), ("Turin", LABEL, "E3", 0.75)]
    assert [mention.text for mention in doc._.mmel.document.text_mentions] == ["Ada Moretti", "Bo", "Turin"]


def test_a_name_within_a_token_takes_all_of_it() -> None:
    doc = component(Toy())(Doc(spacy.blank("en").vocab, words=["Bo-Cyan", "met", "Ada"]))
    assert told(doc) == [("Bo-Cyan", LABEL, "E4", 0.75), ("Ada", LABEL, "E2", 0.75)]
    assert doc._.mmel.document.text_mentions[0].text == "Bo-Cy"


def test_offsets_are_characters_whatever_the_script() -> None:
    doc = component(Toy())(spacy.blank("en")("\U0001f600 Zoë\u00a0‘met’ Turin\n\n  Bo"))
    assert [(ent.text, ent.kb_id_) for ent in doc.ents] == [("Turin", "E3"), ("Bo", "NIL")]


def test_pictures_are_linked_along() -> None:
    nlp, toy = spacy.blank("en"), Toy()
    doc = nlp.make_doc("No name.")
    doc._.mmel_images = ["a.jpg", "b.jpg"]
    doc = component(toy, pictures="stills")(doc)
    assert not doc.ents and [link.entity for link in doc._.mmel.visual_links] == ["E9", "E9"]
    assert [mention.image for mention in doc._.mmel.document.visual_mentions] == ["a.jpg", "b.jpg"]
    assert toy.folders == {Path("stills")}


def test_a_pipe_works_in_batches_and_in_order() -> None:
    nlp, toy = spacy.blank("en"), Toy()
    docs = [nlp.make_doc(f"Ada {number}") for number in range(7)]
    assert list(component(toy).pipe(iter(docs), batch_size=3)) == docs
    assert [len(batch) for batch in toy.asked] == [3, 3, 1]
    ids = [one.id for batch in toy.asked for one in batch]
    assert len(set(ids)) == 7
    assert list(component(toy).pipe([])) == []


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_a_document_without_words(text: str) -> None:
    doc = component(Toy())(spacy.blank("en")(text))
    assert not doc.ents and doc._.mmel.document.text == text


def test_links_survive_files_and_copies() -> None:
    nlp = spacy.blank("en")
    doc = component(Toy())(nlp("Ada Moretti and Bo met in Turin."))
    copied = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    (stored,) = DocBin(store_user_data=True, docs=[doc]).get_docs(nlp.vocab)
    for each in (copied, stored):
        assert told(each) == told(doc) and each._.mmel == doc._.mmel


def test_a_document_that_was_not_linked_has_nothing() -> None:
    doc = spacy.blank("en")("Ada")
    assert doc._.mmel is None and doc[0:1]._.mmel_score is None and doc._.mmel_images == ()


# --- a trained run --------------------------------------------------------------------------------------------------


class Silent:
    """Finds nothing."""

    id = "silent"

    def detect(self, texts: Sequence[str]) -> list[list[Place]]:
        return [[] for _ in texts]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were opened, with a detector that finds nothing."""
    original, paths = Linker.from_pretrained, []

    def open_run(path: str) -> Linker:
        paths.append(path)
        linker = original(path)
        linker.detector = Silent()
        return linker

    monkeypatch.setattr(Linker, "from_pretrained", open_run)
    return paths


def test_a_run_as_a_part_of_a_pipeline(opened: list[str], film_run: Path, films: Path, tmp_path: Path) -> None:
    documents = list(read_documents(films / "documents.val.jsonl"))[:3]
    names = sorted({mention.text for one in documents for mention in one.text_mentions})
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "NAME", "pattern": name} for name in names])
    nlp.add_pipe("mmel", config={"model": str(film_run)})
    docs = list(nlp.pipe([one.text for one in documents], batch_size=2))
    ents = [ent for doc in docs for ent in doc.ents]
    assert ents and all(ent.kb_id_ and ent.label_ == "NAME" and 0 <= ent._.mmel_score <= 1 for ent in ents)
    assert [told(doc) for doc in nlp.pipe([docs[0].text])] == [told(docs[0])] == [told(nlp(docs[0].text))]
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert told(loaded(docs[0].text)) == told(docs[0])
    assert opened == [str(film_run)] * 2


def test_a_saved_pipeline_finds_its_run_where_it_is_told(opened: list[str], film_run: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("mmel", config={"model": str(film_run)})
    nlp.to_disk(tmp_path / "pipeline")
    moved = f"{film_run}/../{film_run.name}"
    spacy.load(tmp_path / "pipeline", config={"components.mmel.model": moved})
    assert opened == [str(film_run), moved]
    assert not [path for path in (tmp_path / "pipeline").rglob("*") if path.suffix == ".safetensors"]


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="component 'mmel': model is missing. Remedy: nlp.add_pipe"):
        spacy.blank("en").add_pipe("mmel")
    with pytest.raises(InputError, match="holds no trained model"):
        spacy.blank("en").add_pipe("mmel", config={"model": str(tmp_path)})
