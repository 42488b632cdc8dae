"""Scorer columns: golden cases, and what they must not tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.document import Candidate, Document, Entity, TextMention
from mmel.encoders.text import CachedTextEncoder
from mmel.formats.jsonl import read_entities
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.text.features import COLUMNS
from mmel.text.prepare import Selection, TextInputs, TextPreparer
from tests.tiny import PLAIN_SCORERS, OneHotEncoder, document

ALL = Selection(prior_k=None, keep_prior=None, keep_context=0)
Prepare = Callable[..., TextInputs]


@pytest.fixture
def prepare(tiny_kb: KnowledgeBase, tmp_path: Path) -> Prepare:
    """Prepares documents of the tiny base with every candidate."""
    encoder = CachedTextEncoder(OneHotEncoder("Mira Dole Otto Renn guide harbour"), tmp_path / "encodings")

    def run(*documents: Document, scorers: tuple[str, ...] = PLAIN_SCORERS, **settings: object) -> TextInputs:
        leave_out = bool(settings.pop("leave_out", False))
        return TextPreparer(tiny_kb, encoder, scorers, ALL, **settings)(documents, leave_out)  # type: ignore[arg-type]

    return run


def column(inputs: TextInputs, name: str, mention: int, kb: KnowledgeBase) -> dict[str, float]:
    """One column of one mention by entity id."""
    mask = inputs.candidates.mask[mention]
    values = inputs.features[mention, mask, inputs.feature_names.index(name)]
    return dict(zip(kb.ids(inputs.candidates.ids[mention][mask]), (round(float(v), 4) for v in values), strict=True))


def test_columns_are_named_in_a_fixed_order_and_stand_alone(prepare: Prepare) -> None:
    one = document("[Mira] met [Otto] at [Salt Road].")
    whole = prepare(one)
    assert whole.feature_names == [f"{name}.{c}" for name in PLAIN_SCORERS for c in COLUMNS[name]]
    assert whole.features.dtype == np.float32 and whole.features.shape[2] == len(whole.feature_names)
    for name in PLAIN_SCORERS:
        part = prepare(one, scorers=(name, "mulrel"))
        assert part.feature_names == [f"{name}.{c}" for c in COLUMNS[name]]
        columns = [whole.feature_names.index(c) for c in part.feature_names]
        np.testing.assert_array_equal(part.features, whole.features[..., columns])
    assert prepare(one, scorers=("mulrel",)).features.shape == (3, 2, 0)
    reordered = prepare(one, scorers=tuple(reversed(PLAIN_SCORERS)))
    assert reordered.feature_names == whole.feature_names


def test_pads_are_zero_and_all_is_finite(film_inputs: TextInputs) -> None:
    assert np.isfinite(film_inputs.features).all()
    assert not film_inputs.features[~film_inputs.candidates.mask].any()
    assert (~film_inputs.candidates.mask).any()


def test_descriptions_are_seen_by_cosines_only(
    films: Path, film_documents: list[Document], encoder: CachedTextEncoder, tmp_path: Path
) -> None:
    """In some sets a description is there exactly where an entity is the gold of a mention."""
    entities = list(read_entities(films / "kb.jsonl"))
    gold = {m.entity for d in film_documents for m in d.text_mentions}
    prepared = {}
    for name, keep in (("all", lambda e: True), ("none", lambda e: False), ("gold", lambda e: e.id in gold)):
        build([e if keep(e) else replace(e, description="") for e in entities], tmp_path / name)
        with KnowledgeBase.open(tmp_path / name) as kb:
            prepared[name] = TextPreparer(kb, encoder, PLAIN_SCORERS, ALL)(film_documents)
    cosines = {
        f"{scorer}.{c}" for scorer in ("context", "text_coherence", "word_overlap", "facts") for c in COLUMNS[scorer]
    }
    others = [i for i, name in enumerate(prepared["all"].feature_names) if name not in cosines]
    assert len(cosines) + len(others) == len(prepared["all"].feature_names)
    for name in ("none", "gold"):
        np.testing.assert_array_equal(prepared[name].candidates.ids, prepared["all"].candidates.ids)
        np.testing.assert_array_equal(prepared[name].features[..., others], prepared["all"].features[..., others])
        changed = (prepared[name].features != prepared["all"].features).any((0, 1))
        assert changed.any()
        # Facts weigh the words of titles by how many records of the base have them, descriptions included.
        same = [n for n in prepared["all"].feature_names if "title" in n and not n.startswith("facts.")]
        assert not [n for n, c in zip(prepared["all"].feature_names, changed, strict=True) if c and n in same]


def test_documents_together_are_the_documents_one_by_one(
    film_preparer: TextPreparer, film_documents: list[Document]
) -> None:
    documents = film_documents[:6]
    together = film_preparer(documents[::-1])
    for d, one in enumerate(documents[::-1]):
        rows = slice(together.table.first[d], together.table.first[d + 1])
        alone = film_preparer([one])
        k = alone.candidates.ids.shape[1]
        np.testing.assert_array_equal(together.candidates.ids[rows, :k], alone.candidates.ids)
        assert (together.candidates.ids[rows, k:] == -1).all()
        np.testing.assert_allclose(together.features[rows, :k], alone.features, atol=1e-5)


def test_prior_columns(prepare: Prepare, tiny_kb: KnowledgeBase) -> None:
    seen = [
        document("[Mira|C1] and [mira|C1]", "a"),
        document("[MIRA|C3] met [Renn|C2]", "b"),
        document("[Otto|C2]", "c"),
    ]
    counts = AnnotationCounts.of(MentionTable.of(seen, tiny_kb), len(tiny_kb))
    plain, known = prepare(*seen), prepare(*seen, annotations=counts)
    for name in ("log_annotated", "annotated", "name_annotated", "log_entity"):
        assert not plain.features[..., plain.feature_names.index(f"prior.{name}")].any()
    assert column(plain, "prior.prior", 0, tiny_kb) == {"C3": 0.6, "C1": 0.4}
    assert column(plain, "prior.log_prior", 0, tiny_kb) == {
        "C3": round(np.log(0.6001), 4), "C1": round(np.log(0.4001), 4),
    }  # fmt: skip
    # Averaged with 2 of 3 annotations for C1.
    assert column(known, "prior.prior", 0, tiny_kb) == pytest.approx(
        {"C1": (0.4 + 2 / 3) / 2, "C3": (0.6 + 1 / 3) / 2}, abs=1e-4
    )
    assert column(known, "prior.annotated", 0, tiny_kb) == {"C1": 0.5, "C3": 0.25}
    assert column(known, "prior.name_annotated", 0, tiny_kb) == pytest.approx(
        dict.fromkeys(("C1", "C3"), np.log(4)), abs=1e-4
    )
    assert column(known, "prior.log_entity", 0, tiny_kb) == pytest.approx({"C1": np.log(3), "C3": np.log(2)}, abs=1e-4)
    # Without its own document, a mention sees the others alone.
    left = prepare(*seen, annotations=counts, leave_out=True)
    assert column(left, "prior.prior", 0, tiny_kb) == pytest.approx({"C1": 0.2, "C3": 0.8}, abs=1e-4)
    assert column(left, "prior.annotated", 2, tiny_kb) == pytest.approx({"C1": 2 / 3, "C3": 0}, abs=1e-4)
    assert column(left, "prior.log_entity", 4, tiny_kb) == pytest.approx({"C2": np.log(2), "C4": 0}, abs=1e-4)


def test_coreference_columns(prepare: Prepare, tiny_kb: KnowledgeBase) -> None:
    listed = {"Mira Dole": [Candidate("C1", 0.9), Candidate("C3", 0.1)]}
    one = document("[Mira Dole] came. [Mira] left. [Mira] sat. [Dole]", candidates=listed)
    inputs = prepare(one)
    log2 = round(float(np.log(2)), 4)
    # The same candidate under one other name, whatever the number of mentions.
    assert column(inputs, "coreference.same_candidate", 1, tiny_kb) == {"C3": log2, "C1": log2}
    assert column(inputs, "coreference.longer_name", 1, tiny_kb) == {"C3": 0.1, "C1": 0.9}
    assert column(inputs, "coreference.longer_name", 0, tiny_kb) == {"C3": 0, "C1": 0}
    assert column(inputs, "coreference.longer_name_exact", 1, tiny_kb) == {"C3": 0, "C1": 1}
    assert not inputs.candidates.mask[3].any()
    # Another document has names of its own.
    apart = prepare(document("[Mira Dole]", "a", listed), document("[Mira]", "b"))
    assert column(apart, "coreference.longer_name", 1, tiny_kb) == {"C3": 0, "C1": 0}
    assert column(apart, "coreference.same_candidate", 1, tiny_kb) == {"C3": 0, "C1": 0}


def test_a_name_the_dataset_resolved(prepare: Prepare, tiny_kb: KnowledgeBase) -> None:
    listed = (Candidate("C3", 0.6), Candidate("C1", 0.4))
    mention = TextMention(0, 4, "Mira", candidates=listed, name="mira dole")
    inputs = prepare(Document("d", "Mira left", text_mentions=(mention,)))
    assert column(inputs, "coreference.resolved_exact", 0, tiny_kb) == {"C3": 0, "C1": 1}
    assert column(prepare(document("[Mira]")), "coreference.resolved_exact", 0, tiny_kb) == {"C3": 0, "C1": 0}


def test_link_columns(prepare: Prepare, tiny_kb: KnowledgeBase) -> None:
    inputs = prepare(document("[Mira] rode the [Salt Road]. [Otto] slept."))
    for name in ("document_max", "document_sum", "sentence_max", "names_max", "prior_max", "prior_sum"):
        found = column(inputs, f"link_coherence.{name}", 0, tiny_kb)
        assert found["C1"] > found["C3"] >= 0, name
    assert column(inputs, "link_coherence.sentence_max", 2, tiny_kb) == {"C2": 0, "C4": 0}
    film = column(inputs, "link_coherence.document_max", 2, tiny_kb)
    assert film["C2"] > film["C4"]
    alone = prepare(document("[Mira]"))
    for name in ("document_max", "document_sum", "sentence_max", "names_max", "prior_max", "prior_sum"):
        assert set(column(alone, f"link_coherence.{name}", 0, tiny_kb).values()) == {0.0}


def test_context_columns_are_cosines(tmp_path: Path) -> None:
    kb_folder = tmp_path / "kb"
    entities = [
        Entity("A", "red", description="blue", links=("B",)), Entity("B", "green"), Entity("C", "blue", links=("B",)),
    ]  # fmt: skip
    build(entities, kb_folder)
    encoder = CachedTextEncoder(OneHotEncoder("red blue green"), tmp_path / "encodings")
    listed = {"red": [Candidate("A", 0.5), Candidate("C", 0.3), Candidate("B", 0.2)]}
    with KnowledgeBase.open(kb_folder) as kb:
        inputs = TextPreparer(kb, encoder, ("context",), ALL)([document("[red] blue. Red green", candidates=listed)])
        half, third = 2**-0.5, 3**-0.5
        expected = {
            "mention_title": {"A": 1, "C": 0, "B": 0},
            "document_title": {"A": third, "C": third, "B": third},
            "sentence_title": {"A": half, "C": half, "B": 0},
            # The texts are "red. blue Links: green", "blue Links: green" and "green".
            "mention_text": {"A": third, "C": 0, "B": 0},
            "sentence_text": {"A": 2 * half * third, "C": half * half, "B": 0},
            # The neighbour of A and C is B; B has none and is its own.
            "document_linked": {"A": third, "C": third, "B": third},
            "sentence_linked": {"A": 0, "C": 0, "B": 0},
        }
        for name, values in expected.items():
            assert column(inputs, f"context.{name}", 0, kb) == pytest.approx(values, abs=2e-3), name
