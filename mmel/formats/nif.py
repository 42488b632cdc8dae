"""NIF 2.0 in Turtle, the part of it that GERBIL exchanges: contexts with texts, phrases with entity references.

Hellmann et al., "Integrating NLP using Linked Data", ISWC 2013; Röder et al., "GERBIL", Semantic Web 2018. Offsets
count Unicode code points, end-exclusive. Reading needs rdflib (`pip install 'mmel[nif]'`); writing does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from mmel.document import NIL, Document, LinkedDocument, TextMention
from mmel.errors import InputError, MissingDependencyError, SkipReport
from mmel.files import atomic_write, read_text

if TYPE_CHECKING:
    from rdflib import Graph
    from rdflib.term import Node

DOCUMENT_BASE = "http://mmel.invalid/documents/"
"""What stands before a document's id in its uri, where the caller names nothing else."""
ENTITY_BASE = "http://mmel.invalid/entities/"
"""What stands before an entity's id in its uri, where nobody knows of which encyclopaedia the ids are."""
WIKIPEDIA = "http://en.wikipedia.org/wiki/"
ENTITY_BASES = (
    WIKIPEDIA,
    "https://en.wikipedia.org/wiki/",
    "http://dbpedia.org/resource/",
    "http://www.wikidata.org/entity/",
    "https://www.wikidata.org/wiki/",
    ENTITY_BASE,
)
"""Beginnings of entity uris that reading cuts off; any other uri is kept whole as the entity's id."""
NOT_IN_WIKI = "http://aksw.org/notInWiki"
_NIF = "http://persistence.uni-leipzig.org/nlp2rdf/ontologies/nif-core#"
_ITSRDF = "http://www.w3.org/2005/11/its/rdf#"
_DCTERMS = "http://purl.org/dc/terms/"
PREFIXES = f"""@prefix nif: <{_NIF}> .
@prefix itsrdf: <{_ITSRDF}> .
@prefix dcterms: <{_DCTERMS}> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""
_FRAGMENT = re.compile(r"[#?/](?:char=(\d+),(\d*)|offset_(\d+)_(\d+))$")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_SPECIAL = re.compile(r'[\x00-\x1f\x7f-\x9f\\"\u2028\u2029\ufeff\ufffe\uffff]')
_NOT_IN_IRI = re.compile(r'[\x00-\x20<>"{}|^`\\]')
_SAFE = "!$'()*,;:@"


def read_nif(
    path: str | Path,
    document_base: str = DOCUMENT_BASE,
    entity_bases: Sequence[str] = ENTITY_BASES,
    skips: SkipReport | None = None,
) -> Iterator[Document]:
    """Yield the documents of a Turtle file; see `parse_nif`. The whole file is held in memory (an RDF graph)."""
    yield from parse_nif(read_text(path), document_base, entity_bases, skips, file=path)


def parse_nif(
    turtle: str,
    document_base: str = DOCUMENT_BASE,
    entity_bases: Sequence[str] = ENTITY_BASES,
    skips: SkipReport | None = None,
    file: str | Path | None = None,
) -> list[Document]:
    """The documents of a Turtle text, in its order, each with its phrases by offset.

    A document's id is its uri without `document_base` and without the character range. A phrase's entity is
    its `itsrdf:taIdentRef` without the first of `entity_bases` that fits, percent-decoded, underscores as
    spaces; NIL for uris of `http://aksw.org/notInWiki`; None where there is no reference.

    Raises InputError where the Turtle is broken, a text or an offset is missing, a phrase does not spell its
    `nif:anchorOf` or has several references; with `skips` such a document is counted and left out.
    """
    graph = _graph(turtle, file)
    from rdflib import RDF, URIRef

    phrases: dict[Node, list[Node]] = {}
    for phrase, context in graph.subject_objects(URIRef(_NIF + "referenceContext")):
        phrases.setdefault(context, []).append(phrase)
    documents = []
    for context in graph.subjects(RDF.type, URIRef(_NIF + "Context"), unique=True):
        try:
            documents.append(_document(graph, context, phrases.get(context, []), document_base, entity_bases, file))
        except InputError as error:
            if skips is None:
                raise
            skips.add("broken context", str(error))
    return documents


def write_nif(
    path: str | Path, documents: Iterable[Document], document_base: str = DOCUMENT_BASE, entity_base: str = WIKIPEDIA
) -> int:
    """Write documents as Turtle, whole or not at all; the number written. See `format_nif`."""
    count = 0
    with atomic_write(path, "wb") as stream:
        stream.write(PREFIXES.encode())
        for document in documents:
            stream.write(_document_turtle(document, document_base, entity_base).encode("utf-8"))
            count += 1
    return count


def format_nif(documents: Iterable[Document], document_base: str = DOCUMENT_BASE, entity_base: str = WIKIPEDIA) -> str:
    """Documents as one Turtle text.

    Entity uris are `entity_base` and the id, percent-encoded, spaces as underscores; NIL is
    `http://aksw.org/notInWiki/SURFACE`. Titles are `dcterms:title`. Pictures, candidates and extra keys have no
    place in NIF and are left out. Raises InputError where two mentions share a span, which NIF cannot say.
    """
    return PREFIXES + "".join(_document_turtle(document, document_base, entity_base) for document in documents)


def linked_turtle(linked: LinkedDocument, document_base: str = DOCUMENT_BASE, entity_base: str = ENTITY_BASE) -> str:
    """The Turtle of a linked document, to stand behind `PREFIXES`: each name with its link and `itsrdf:taConfidence`.

    As `format_nif`, of the links and not of the gold; names have no reference where texts were not linked. Raises
    InputError where links do not match the mentions one to one, and where a score is not finite.
    """
    document, links = linked.document, linked.text_links
    if links and len(links) != len(document.text_mentions):
        raise InputError(
            f"document '{document.id}': {len(document.text_mentions)} text mentions and {len(links)} links",
            remedy="give one link a mention, in mention order",
        )
    answers: list[str | None] = [link.entity for link in links] or [None] * len(document.text_mentions)
    mentions = tuple(
        replace(mention, entity=entity) for mention, entity in zip(document.text_mentions, answers, strict=True)
    )
    scores = [link.score for link in links]
    if not all(map(math.isfinite, scores)):
        raise InputError(f"document '{document.id}' has a link whose score is no finite number", field="score")
    return _document_turtle(replace(document, text_mentions=mentions), document_base, entity_base, scores)


def entity_uri(entity: str, base: str = WIKIPEDIA) -> str:
    """The uri of an entity id: spaces as underscores, underscores and all but plain characters percent-encoded.

    An id that is itself a http uri keeps its form.
    """
    if entity.startswith(("http://", "https://")):
        return _NOT_IN_IRI.sub(lambda match: quote(match[0]), entity)
    return base + "%5F".join(quote(part, safe=_SAFE + "/ ") for part in entity.split("_")).replace(" ", "_")


def entity_of(uri: str, bases: Sequence[str] = ENTITY_BASES) -> str:
    """The entity id of a uri: without the first of `bases` that fits, decoded; NIL for `notInWiki`."""
    if uri.startswith(NOT_IN_WIKI):
        return NIL
    for base in bases:
        if uri.startswith(base):
            return unquote(uri[len(base) :].replace("_", " "))
    return uri


def _graph(turtle: str, file: str | Path | None) -> Graph:
    try:
        from rdflib import Graph
        from rdflib.plugins.parsers.notation3 import BadSyntax
    except ImportError as error:
        raise MissingDependencyError("rdflib", "nif") from error
    graph = Graph(bind_namespaces="none")
    try:
        graph.parse(data=turtle, format="turtle")
    except BadSyntax as error:
        raise InputError(
            f"is no Turtle: {error.message}",
            file=file,
            line=error.lines + 1,
            remedy="a file cut short must be fetched again",
        ) from error
    return graph


def _document(
    graph: Graph,
    context: Node,
    phrases: list[Node],
    document_base: str,
    entity_bases: Sequence[str],
    file: str | Path | None,
) -> Document:
    from rdflib import URIRef

    uri = str(context)
    text = graph.value(context, URIRef(_NIF + "isString"))
    if text is None:
        raise InputError(f"context <{uri}> has no nif:isString", file=file, remedy="give every context its text")
    nodes = dict.fromkeys([*phrases, context])  # a context may itself be a phrase: a name alone
    mentions = [_mention(graph, node, str(text), entity_bases, file) for node in nodes]
    name = _FRAGMENT.sub("", uri)
    title = graph.value(context, URIRef(_DCTERMS + "title"))
    document = Document(
        id=unquote(name[len(document_base) :]) if name.startswith(document_base) else name,
        text=str(text),
        title="" if title is None else str(title),
        text_mentions=tuple(sorted(filter(None, mentions), key=lambda mention: (mention.start, mention.end))),
    )
    document.check_spans(None if file is None else str(file))
    return document


def _mention(
    graph: Graph, phrase: Node, text: str, entity_bases: Sequence[str], file: str | Path | None
) -> TextMention | None:
    from rdflib import RDF, URIRef

    references = list(graph.objects(phrase, URIRef(_ITSRDF + "taIdentRef")))
    if not references and (phrase, RDF.type, URIRef(_NIF + "Phrase")) not in graph:
        return None  # a sentence or a word of the context
    if len(references) > 1:
        listed = " and ".join(f"<{reference}>" for reference in references)
        raise InputError(f"phrase <{phrase}> refers to {listed}", file=file, remedy="keep one itsrdf:taIdentRef")
    start, end = _offset(graph, phrase, "beginIndex", 1, file), _offset(graph, phrase, "endIndex", 2, file)
    anchor = graph.value(phrase, URIRef(_NIF + "anchorOf"))
    return TextMention(
        start,
        end,
        text[start:end] if anchor is None else str(anchor),
        entity_of(str(references[0]), entity_bases) if references else None,
    )


def _offset(graph: Graph, phrase: Node, name: str, group: int, file: str | Path | None) -> int:
    from rdflib import URIRef

    value = graph.value(phrase, URIRef(_NIF + name))
    range_ = _FRAGMENT.search(str(phrase))
    text = str(value) if value is not None else (range_[group] or range_[group + 2]) if range_ else None
    if text is None or not text.isdecimal():
        raise InputError(
            f"phrase <{phrase}> has {text!r} as nif:{name}", file=file, remedy="offsets are integers from 0"
        )
    return int(text)


def _document_turtle(document: Document, document_base: str, entity_base: str, confidence: Sequence[float] = ()) -> str:
    uri = document_base + quote(document.id, safe=_SAFE)
    context = f"<{uri}#char=0,{len(document.text)}>"
    lines = [
        f"\n{context} a nif:Context , nif:RFC5147String ;",
        f"    nif:isString {_literal(document.text, document)} ;",
        *([f"    dcterms:title {_literal(document.title, document)} ;"] if document.title else []),
        *_range(0, len(document.text)),
        ".",
    ]
    seen: set[tuple[int, int]] = set()
    for mention, score in zip_longest(document.text_mentions, confidence):
        span = mention.start, mention.end
        if span in seen:
            raise InputError(
                f"document '{document.id}': two mentions have the span [{span[0]}, {span[1]}) ({mention.text!r})",
                remedy="NIF names a phrase by its span; keep one of them",
            )
        seen.add(span)
        # A mention of the whole text needs another name than its context.
        place = f"char={span[0]},{span[1]}" if span != (0, len(document.text)) else f"offset_{span[0]}_{span[1]}"
        lines += [
            f"<{uri}#{place}> a nif:Phrase , nif:RFC5147String ;",
            f"    nif:referenceContext {context} ;",
            f"    nif:anchorOf {_literal(mention.text, document)} ;",
            *([f"    itsrdf:taIdentRef <{_reference(mention, entity_base)}> ;"] if mention.entity is not None else []),
            *([f'    itsrdf:taConfidence "{float(score)!r}"^^xsd:double ;'] if score is not None else []),
            *_range(*span),
            ".",
        ]
    return "\n".join(lines) + "\n"


def _range(start: int, end: int) -> tuple[str, str]:
    number = '    nif:{} "{}"^^xsd:nonNegativeInteger'
    return number.format("beginIndex", start) + " ;", number.format("endIndex", end)


def _reference(mention: TextMention, entity_base: str) -> str:
    if mention.entity == NIL:
        return entity_uri(mention.text, f"{NOT_IN_WIKI}/")
    return entity_uri(mention.entity or "", entity_base)


def _literal(text: str, document: Document) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"document '{document.id}' holds half of a surrogate pair at character {error.start}",
            remedy="repair the text",
        ) from error
    return '"' + _SPECIAL.sub(lambda match: _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04X}", text) + '"'
