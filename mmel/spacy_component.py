"""The spaCy component `mmel`: names of a pipeline's documents, linked.

    nlp = spacy.blank("en")
    nlp.add_pipe("mmel", config={"model": "runs/films"})
    doc = nlp("Nick and Michael play one final round.")
    print([(ent.text, ent.kb_id_, ent._.mmel_score) for ent in doc.ents])

What an earlier component put into `doc.ents` is linked; a document without is searched for names first. Pictures of a
document are paths in `doc._.mmel_images`, set before the component runs, and their faces are linked along; they are in
`doc._.mmel`, the whole LinkedDocument. Needs `pip install 'mmel[spacy]'`. The model is kept by its path: a pipeline
that was saved finds it there, or where `spacy.load(PATH, config={"components.mmel.model": RUN})` says.
"""

# No `from __future__ import annotations`: spaCy checks a component's settings by the annotations themselves.

import json
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from mmel.document import Document, Link, LinkedDocument, TextMention
from mmel.errors import ConfigError, MissingDependencyError
from mmel.formats.jsonl import linked_record, parse_linked
from mmel.linker import Linker

try:
    from spacy.language import Language
    from spacy.tokens import Doc, Span
    from spacy.util import minibatch
except ImportError as error:
    raise MissingDependencyError("spacy", "spacy") from error

LABEL = "ENTITY"
"""`ent.label_` of names that no earlier component has found."""
_KEY = "mmel"


def _linked_document(doc: Doc) -> LinkedDocument | None:
    line = doc.user_data.get(_KEY)
    return None if line is None else parse_linked(json.loads(line))


# A text behind a getter: what spaCy sends to its processes and writes to files holds no objects, and no lists.
Doc.set_extension("mmel", getter=_linked_document, force=True)
Doc.set_extension("mmel_images", default=(), force=True)
Span.set_extension("mmel_score", default=None, force=True)


class SpacyLinker:
    """Links the entities of spaCy documents; see the module.

    Args:
        labels: only entities with one of these labels are linked, others stay as they are; None links all.
        pictures: folder that `doc._.mmel_images` are relative to.
    """

    def __init__(self, linker: Linker, labels: Iterable[str] | None = None, pictures: str | Path = ".") -> None:
        self.linker, self._pictures = linker, Path(pictures)
        # Not `labels`: that is what spaCy asks a component for the labels it gives.
        self._labels = None if labels is None else frozenset(labels)
        self._numbers = count()

    def __call__(self, doc: Doc) -> Doc:
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Link documents in batches; InputError where one cannot be linked."""
        for docs in minibatch(stream, batch_size):
            documents = self.linker.annotate([self._document(doc) for doc in docs], self._pictures)
            for doc, linked in zip(docs, self.linker.link(documents, self._pictures), strict=True):
                self._set(doc, linked)
                yield doc

    def _document(self, doc: Doc) -> Document:
        mentions = tuple(
            TextMention(ent.start_char, ent.end_char, ent.text) for ent in doc.ents if self._is_linked(ent)
        )
        return Document(str(next(self._numbers)), doc.text, text_mentions=mentions, images=tuple(doc._.mmel_images))

    def _is_linked(self, ent: Span) -> bool:
        return self._labels is None or ent.label_ in self._labels

    def _set(self, doc: Doc, linked: LinkedDocument) -> None:
        """Write the links into the document; a name that is part of an entity it has is in `doc._.mmel` alone."""
        entities = {(ent.start_char, ent.end_char): ent for ent in doc.ents if self._is_linked(ent)}
        taken = {token.i for ent in doc.ents for token in ent}
        told: list[tuple[Span, Link]] = []
        # No link where the run does not link names.
        for mention, link in zip(linked.document.text_mentions, linked.text_links, strict=False):
            ent = entities.get((mention.start, mention.end))
            if ent is None:
                ent = doc.char_span(mention.start, mention.end, label=LABEL, alignment_mode="expand")
                tokens = set(range(ent.start, ent.end))
                if tokens & taken:
                    continue
                taken |= tokens
            told.append((ent, link))
        doc.ents = [*doc.ents, *(ent for ent, _ in told if (ent.start_char, ent.end_char) not in entities)]
        for ent, link in told:
            ent._.mmel_score = link.score
            for token in ent:
                token.ent_kb_id_ = link.entity  # NIL is the same word in both
        doc.user_data[_KEY] = json.dumps(linked_record(linked), ensure_ascii=False)


@Language.factory(
    "mmel",
    assigns=["doc.ents", "doc._.mmel", "token.ent_kb_id", "span._.mmel_score"],
    default_config={"model": None, "labels": None, "pictures": "."},
)
def make_linker(nlp: Language, name: str, model: str | None, labels: list[str] | None, pictures: str) -> SpacyLinker:
    """The component of a run folder; ConfigError where none is named, InputError where it holds no model."""
    if model is None:
        raise ConfigError(
            f"component '{name}': model is missing. Remedy: "
            f'nlp.add_pipe("mmel", config={{"model": RUN}}) with the run folder of python -m mmel.train'
        )
    return SpacyLinker(Linker.from_pretrained(model), labels, pictures)
