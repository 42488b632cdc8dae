"""The composed linker: opened again it links as in training, and refuses what it was not trained for."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmel.detection import Span
from mmel.document import NIL, Alias, Candidate, Document, Entity, LinkedDocument
from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import read_documents, read_entities
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.kb.update import add
from mmel.linker import Linker
from mmel.parallel import pick_device
from mmel.text.linker import TextLinker
from mmel.text.prepare import TextPreparer
from tests.tiny import document, small_config, write_encoder


def text_of(linker: Linker) -> TextLinker:
    assert linker.text is not None
    return linker.text


@pytest.fixture(scope="module")
def linker(film_run: Path) -> Linker:
    return Linker.from_pretrained(film_run)


@pytest.fixture(scope="module")
def documents(films: Path) -> list[Document]:
    return list(read_documents(films / "documents.val.jsonl"))


@pytest.fixture
def copy(film_run: Path, tmp_path: Path) -> Path:
    """A run folder to be damaged."""
    shutil.copytree(film_run, tmp_path / "copy")
    return tmp_path / "copy"


def answers(linked: list[LinkedDocument]) -> list[list[str]]:
    return [[link.entity for link in one.text_links] for one in linked]


def test_links_are_those_of_training(linker: Linker, documents: list[Document], film_run: Path) -> None:
    linked = list(linker.link(documents))
    metrics = json.loads((film_run / "metrics.json").read_text())["validation"]["val"]["text"]
    pairs = [
        (m.entity, link.entity)
        for one in linked
        for m, link in zip(one.document.text_mentions, one.text_links, strict=True)
    ]
    assert sum(gold == found for gold, found in pairs) == metrics["correct"]
    assert len(pairs) == metrics["mentions"]


def test_every_mention_has_one_link_with_ranked_candidates(linker: Linker, documents: list[Document]) -> None:
    given = [
        documents[0],
        Document("none", "Nothing here."),
        document("[Nobodyatall] and [—]"),
        documents[1],
        Document("e", ""),
    ]
    linked = list(linker.link(given, nil=False))
    assert [one.document for one in linked] == given
    assert answers(linked)[2] == [NIL, NIL]
    for one in linked:
        assert len(one.text_links) == len(one.document.text_mentions)
        assert one.meta == {"kb": linker.kb.meta.content_hash[:12]}
        for link in one.text_links:
            if not link.candidates:
                assert (link.entity, link.score) == (NIL, 0.0)
                continue
            scores = [candidate.score for candidate in link.candidates]
            assert scores == sorted(scores, reverse=True)
            assert sum(scores) == pytest.approx(1, abs=1e-5)
            assert (link.entity, link.score) == (link.candidates[0].entity, scores[0])
            assert len({candidate.entity for candidate in link.candidates}) == len(scores)
            assert all(0 <= candidate.prior <= 1 for candidate in link.candidates)
    assert list(linker.link([])) == []


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_do_not_matter(linker: Linker, documents: list[Document], size: int) -> None:
    whole = list(linker.link(documents))
    parts = list(linker.link(iter(documents), documents_per_batch=size))
    assert answers(parts) == answers(whole)
    for one, other in zip(parts, whole, strict=True):
        for a, b in zip(one.text_links, other.text_links, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4)
    backwards = list(linker.link(documents[::-1]))
    assert answers(backwards)[::-1] == answers(whole)


def test_documents_are_read_as_they_are_linked(linker: Linker, documents: list[Document]) -> None:
    taken = []

    def stream() -> Iterator[Document]:
        for one in documents:
            taken.append(one.id)
            yield one

    linked = linker.link(stream(), documents_per_batch=4)
    assert next(linked).document == documents[0]
    assert len(taken) == 4


def test_mentions_may_stand_in_any_order(linker: Linker, documents: list[Document]) -> None:
    """Links come back in the order of the mentions, whatever it is in the text."""
    turned = [replace(one, text_mentions=one.text_mentions[::-1]) for one in documents]
    straight, back = list(linker.link(documents)), list(linker.link(turned))
    pairs = [
        (a, b)
        for one, other in zip(answers(straight), answers(back), strict=True)
        for a, b in zip(one, other[::-1], strict=True)
    ]
    assert sum(a == b for a, b in pairs) > 0.9 * len(pairs)  # distance in mentions changes at the ends


def test_found_mentions_are_linked_as_given_ones(linker: Linker, documents: list[Document]) -> None:
    """What a detector finds is asked for where a text has no mention, and only there."""
    spans = {d.text: [Span(m.start, m.end, 0.9) for m in d.text_mentions] for d in documents}
    raw = [replace(one, text_mentions=()) for one in documents]
    copy = Linker(linker.kb, linker.text, detector=Known(spans))
    found = list(copy.annotate(raw))
    assert answers(list(copy.link(found))) == answers(list(linker.link(documents)))
    assert list(copy.annotate(documents)) == documents and copy.missing_images == 0
    assert list(Linker(linker.kb).annotate(raw)) == raw
    with pytest.raises(InputError, match=f"'{raw[0].id}'.*without mentions.*detection"):
        list(Linker(linker.kb, linker.text).annotate(raw))


def test_a_run_finds_the_mentions_of_raw_texts(linker: Linker, documents: list[Document]) -> None:
    raw = [replace(one, text_mentions=()) for one in documents]
    found = list(linker.annotate(raw))
    gold = {(d.id, m.start, m.end) for d in documents for m in d.text_mentions}
    spans = {(d.id, m.start, m.end) for d in found for m in d.text_mentions}
    assert len(gold & spans) >= 0.95 * len(gold)
    assert [len(one.text_links) for one in linker.link(found)] == [len(one.text_mentions) for one in found]


class Known:
    """A detector that was told what there is."""

    id = "known"

    def __init__(self, spans: dict[str, list[Span]]) -> None:
        self.spans = spans

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        return [self.spans[text] for text in texts]


def test_context_names_get_no_link(linker: Linker, documents: list[Document]) -> None:
    old_linker = text_of(linker)
    old = old_linker.preparer
    wider = TextPreparer(
        old.kb, old.encoder, old.scorers, replace(old.selection, context_names=True), context_words=old.context_words
    )
    fewer = [replace(one, text_mentions=one.text_mentions[1::2][::-1]) for one in documents]
    assert len(wider(fewer).table) > sum(len(one.text_mentions) for one in fewer)
    for one in Linker(linker.kb, TextLinker(old_linker.config, wider, old_linker.model, old_linker.device)).link(fewer):
        for mention, link in zip(one.document.text_mentions, one.text_links, strict=True):
            assert link.entity in {match.entity for match in link.candidates}
            known = old.kb.ids(m.index for m in old.kb.lookup(mention.text, None))
            assert link.entity in known


def test_the_order_of_given_lists_changes_no_score(linker: Linker, documents: list[Document], films: Path) -> None:
    """As PPRforNED gives them: the gold first, no prior, no rank."""
    by_name: dict[str, set[str]] = {}
    for entity in read_entities(films / "kb.jsonl"):
        for alias in entity.aliases:
            by_name.setdefault(alias.name, set()).add(entity.id)

    def listed(seed: int | None) -> list[Document]:
        out = []
        for one in documents:
            mentions = []
            for mention in one.text_mentions:
                assert mention.entity is not None
                names = [mention.entity, *sorted(by_name[mention.text] - {mention.entity})]
                if seed is not None:
                    random.Random(f"{seed} {mention.start}").shuffle(names)
                mentions.append(replace(mention, candidates=tuple(map(Candidate, names))))
            out.append(replace(one, text_mentions=tuple(mentions)))
        return out

    first = [one.text_links for one in linker.link(listed(None))]
    for seed in range(3):
        assert [one.text_links for one in linker.link(listed(seed))] == first


def test_another_base_is_refused_unless_candidates_are_given(film_run: Path, tmp_path: Path, films: Path) -> None:
    build([replace(e, popularity=e.popularity + 1) for e in read_entities(films / "kb.jsonl")], tmp_path / "other")
    with KnowledgeBase.open(tmp_path / "other") as other:
        with pytest.raises(InputError, match=r"trained for 'films' of 2020-02-02 .* is another knowledge base.*--kb"):
            Linker.from_pretrained(film_run, other)
        assert Linker.from_pretrained(film_run, other, check_kb=False).kb is other


def test_a_base_with_entities_added_is_accepted(
    film_run: Path, films: Path, tmp_path: Path, documents: list[Document]
) -> None:
    grown = tmp_path / "grown"
    shutil.copytree(films.parent / "kb", grown)
    add([Entity("NEW", "Quarrelsome Newcomer", aliases=(Alias("Quarrelsome", 3),))], grown)
    with KnowledgeBase.open(grown) as kb:
        linker = Linker.from_pretrained(film_run, kb)
        linked = list(linker.link([document("[Quarrelsome] enters.")], nil=False))
        assert answers(linked) == [["NEW"]]
        assert answers(list(linker.link(documents[:3]))) == answers(
            list(Linker.from_pretrained(film_run).link(documents[:3]))
        )


def test_other_encoder_weights_are_refused(copy: Path, tmp_path: Path) -> None:
    other = write_encoder(tmp_path / "tiny", seed=7)
    config = (copy / "config.yaml").read_text().splitlines()
    at = next(i for i, line in enumerate(config) if line.startswith("encoder:")) + 1
    config[at] = f"  name: {other}"
    (copy / "config.yaml").write_text("\n".join(config))
    with pytest.raises(
        InputError, match=r"model.safetensors: the model was trained on vectors of 'tiny-.*Remedy: install the same"
    ):
        Linker.from_pretrained(copy)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_model_is_one_clear_error(copy: Path, share: float) -> None:
    file = copy / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        InputError, match=r"model.safetensors: is no whole checkpoint .*Remedy: train again with --restart"
    ):
        Linker.from_pretrained(copy)


@pytest.mark.parametrize(
    ("setting", "value"), [("hidden", "32"), ("scorers", "[prior, surface]"), ("inference", "lbp")]
)
def test_settings_of_another_model_are_refused(
    copy: Path, films: Path, tiny_encoder: Path, setting: str, value: str
) -> None:
    small_config(films, tiny_encoder, copy, f"model.{setting}={value}").save(copy / "config.yaml")
    reason = (
        "other score columns" if setting == "scorers" else "holds the weights of another model .*use the config.yaml"
    )
    with pytest.raises(InputError, match=reason):
        Linker.from_pretrained(copy)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "copy: holds no trained model. Remedy: name the run folder of `python -m mmel.train`"),
        ("metrics.json", "copy: holds a run that was not trained to its end. Remedy: give its .* again, which goes on"),
        ("config.yaml", "config.yaml: cannot be read"),
        ("kb.json", "kb.json: is missing"),
    ],
)
def test_half_a_run_folder_is_one_clear_error(copy: Path, missing: str, message: str) -> None:
    (copy / missing).unlink()
    with pytest.raises(InputError, match=message):
        Linker.from_pretrained(copy)


def test_a_base_that_is_gone_is_named(copy: Path, tmp_path: Path) -> None:
    about = json.loads((copy / "kb.json").read_text())
    (copy / "kb.json").write_text(json.dumps(about | {"path": str(tmp_path / "gone")}))
    with pytest.raises(InputError, match="gone"):
        Linker.from_pretrained(copy)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu").type == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="device is 'cuda' and there is none here. Remedy: device=auto"):
        pick_device("cuda")


def test_scores_are_finite_and_pads_are_low(linker: Linker, documents: list[Document]) -> None:
    text = text_of(linker)
    inputs = text.preparer(documents)
    scores = text.scores(inputs)
    mask = inputs.candidates.mask
    assert np.isfinite(scores).all() and (scores[~mask] <= -1e8).all() and (np.abs(scores[mask]) < 1e4).all()
