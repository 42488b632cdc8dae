"""Preparation of real documents: no list order matters, and every gold is found."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mmel.candidates import CandidateGenerator, MentionTable
from mmel.candidates.generate import RANK_EXPONENT, RANK_SECOND
from mmel.datasets import open_dataset
from mmel.document import Document
from mmel.encoders.text import CachedTextEncoder, TransformerEncoder
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.text.prepare import Selection, TextPreparer
from tests.tiny import PLAIN_SCORERS

pytestmark = pytest.mark.data
DOCUMENTS = 20


@pytest.fixture(scope="module")
def kb(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    folder = tmp_path_factory.mktemp("aida") / "kb"
    build(open_dataset("aida", data_root / "aida").entities(), folder)
    return KnowledgeBase.open(folder)


@pytest.fixture(scope="module")
def documents(data_root: Path) -> list[Document]:
    return list(islice(open_dataset("aida", data_root / "aida").documents("testa"), DOCUMENTS))


def shuffled_root(data_root: Path, folder: Path, count: int) -> Path:
    """AIDA with the candidates of each mention of the first files of testa in another order."""
    (folder / "conll2003").symlink_to((data_root / "aida" / "conll2003").resolve(), target_is_directory=True)
    dice = random.Random(5)
    source = next((data_root / "aida" / "PPRforNED").rglob("947")).parent
    target = folder / "PPRforNED" / source.relative_to(data_root / "aida" / "PPRforNED")
    target.mkdir(parents=True)
    for number in range(947, 947 + count):
        blocks: list[tuple[list[str], list[str]]] = []
        for line in (source / str(number)).read_bytes().decode("utf-8").splitlines(keepends=True):
            if line.startswith("CANDIDATE"):
                blocks[-1][1].append(line)
            else:
                blocks.append(([line], []))
        for _, candidates in blocks:
            dice.shuffle(candidates)
        text = "".join(line for head, candidates in blocks for line in head + candidates)
        (target / str(number)).write_bytes(text.encode("utf-8"))
    return folder


def test_every_gold_is_within_the_first_30_candidates(kb: KnowledgeBase, documents: list[Document]) -> None:
    table = MentionTable.of(documents, kb)
    assert (table.gold >= 0).sum() > 200
    assert CandidateGenerator(kb, 30)(table).recall(table.gold) == 1


def test_shuffled_candidate_files_give_the_same_features(
    kb: KnowledgeBase, documents: list[Document], data_root: Path, tmp_path: Path, tiny_encoder: Path
) -> None:
    root = shuffled_root(data_root, tmp_path, DOCUMENTS)
    other = list(islice(open_dataset("aida", root).documents("testa"), DOCUMENTS))
    encoder = CachedTextEncoder(TransformerEncoder(str(tiny_encoder), "float32", max_tokens=32), tmp_path / "encodings")
    preparer = TextPreparer(kb, encoder, PLAIN_SCORERS, Selection(prior_k=12, keep_prior=4, keep_context=2, graph_k=2))
    # Read without any sorting, as a reader of other files might.
    dice = random.Random(6)
    unsorted = []
    for one in documents:
        lists = [m.candidates or () for m in one.text_mentions]
        mentions = (
            replace(m, candidates=tuple(dice.sample(c, len(c)))) for m, c in zip(one.text_mentions, lists, strict=True)
        )
        unsorted.append(replace(one, text_mentions=tuple(mentions)))
    expected = preparer(documents)
    for given in (other, unsorted):
        found = preparer(given)
        for field in fields(found):
            value = getattr(found, field.name)
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(expected, field.name), err_msg=field.name)
        np.testing.assert_array_equal(found.candidates.ids, expected.candidates.ids)
        np.testing.assert_array_equal(found.candidates.prior, expected.candidates.prior)


def test_the_rank_curve_is_that_of_real_lists(data_root: Path) -> None:
    """Shares of the first candidate's p(e|m) at later ranks, geometric means of the sampled lists."""
    lines = (data_root / "kb" / "priors_sample.txt").read_text(encoding="utf-8").splitlines()
    fields_of = [[candidate.split(",") for candidate in line.split("\t")[2:]] for line in lines]
    lists = [[float(values[1]) for values in candidates if len(values) > 2] for candidates in fields_of]
    assert len(lists) == 50
    for rank in (1, 3, 10, 29):
        shares = [p[rank] / p[0] for p in lists if len(p) > rank and p[rank] > 0]
        expected = RANK_SECOND * rank**-RANK_EXPONENT
        assert expected / 2 < np.exp(np.mean(np.log(shares))) < expected * 2
