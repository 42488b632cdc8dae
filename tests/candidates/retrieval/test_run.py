"""Retrieval from training to links: candidates join those of the dictionary, are kept, scored, saved, opened again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.candidates.generate import SOURCES
from mmel.config import Config
from mmel.document import Candidate, Document
from mmel.encoders.entities import SentenceVectors
from mmel.encoders.text import CachedTextEncoder
from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import read_documents
from mmel.kb import KnowledgeBase
from mmel.linker import Linker
from mmel.schema import to_yaml
from mmel.text.entity_text import entity_texts
from mmel.text.prepare import Selection, TextInputs, TextPreparer
from mmel.training.session import train_linker
from tests.tiny import OneHotEncoder, document, small_config

RETRIEVED = SOURCES.index("retrieved")
ALL = ["annotations", "names", "bm25", "dense"]


def prepared(
    kb: KnowledgeBase,
    folder: Path,
    selection: Selection,
    *documents: Document,
    k: int = 4,
    scorers: tuple[str, ...] = (),
) -> TextInputs:
    from mmel.candidates.retrieval import Retrieval

    encoder = CachedTextEncoder(OneHotEncoder("a"), folder)
    preparer = TextPreparer(kb, encoder, ("prior", *scorers), selection)
    preparer.retrieval = Retrieval(
        ["annotations", "names"], k, kb, None, encoder, SentenceVectors(encoder, entity_texts)
    )
    return preparer(documents)


def listed(inputs: TextInputs, kb: KnowledgeBase, row: int = 0) -> list[tuple[str, float, str]]:
    candidates, mask = inputs.candidates, inputs.candidates.mask[row]
    names = kb.ids(candidates.ids[row][mask])
    sources = [SOURCES[s] for s in candidates.source[row][mask]]
    return list(zip(names, candidates.prior[row][mask].tolist(), sources, strict=True))


def test_what_is_retrieved_stands_behind_the_dictionary(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    inputs = prepared(tiny_kb, tmp_path, Selection(None, None, 0), document("[Otto] and [Vosss] and [Tavara's]."), k=3)
    assert listed(inputs, tiny_kb)[:2] == [("C2", 0.5, "exact"), ("C4", 0.5, "exact")]
    assert len(listed(inputs, tiny_kb)) <= 3
    assert listed(inputs, tiny_kb, 1)[0] == ("C3", 0, "retrieved"), "a letter too many"
    assert listed(inputs, tiny_kb, 2)[0] == ("P1", 0, "retrieved"), "a surname with a possessive"
    assert list(inputs.recall)[1] == "+ retrieved to 3"


def test_lists_of_the_dataset_stay_as_they_are(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    given = {"Mira": [Candidate("C3", 0.7), Candidate("X1", 0.3)], "Otto": []}
    inputs = prepared(tiny_kb, tmp_path, Selection(None, None, 0), document("[Mira] [Otto]", candidates=given),
                      scorers=("retrieval",))  # fmt: skip
    assert [name for name, *_ in listed(inputs, tiny_kb)] == ["C3", "X1"]
    assert not inputs.candidates.mask[1].any()
    ensemble = inputs.features[0, :2, inputs.feature_names.index("retrieval.ensemble")]
    assert ensemble[0] > ensemble[1] == 0, "they are scored all the same"


@pytest.mark.parametrize(("kept", "total", "count"), [(None, None, 3), (1, None, 2), (0, None, 1), (None, 2, 2)])
def test_few_of_the_prior_do_not_throw_the_retrieved_away(
    tiny_kb: KnowledgeBase, tmp_path: Path, kept: int | None, total: int | None, count: int
) -> None:
    rule = Selection(None, 1, 0, total=total, keep_retrieved=kept)
    inputs = prepared(tiny_kb, tmp_path, rule, document("[Mira] Voss"))
    found = listed(inputs, tiny_kb)
    assert len(found) == count
    assert found[0][0] == "C3" and found[0][2] == "exact"
    assert ("C1" in [name for name, *_ in found]) == (count > 1), "first of those left, by the ensemble"
    assert f"+ {'all' if kept is None else kept} by retrieval" in inputs.recall


def test_columns_of_the_scorer(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    inputs = prepared(tiny_kb, tmp_path, Selection(None, None, 0), document("[Mira Dole]"), scorers=("retrieval",))
    names = ["annotations", "names", "ensemble", "log_reciprocal_rank"]
    assert inputs.feature_names[-4:] == [f"retrieval.{name}" for name in names]
    own = dict(zip(names, inputs.features[0, 0, -4:].tolist(), strict=True))
    assert own == pytest.approx({"annotations": 1, "names": 1, "ensemble": 1, "log_reciprocal_rank": 0}, abs=1e-6)
    ranks = -inputs.features[0, :, -1][inputs.candidates.mask[0]]
    np.testing.assert_allclose(np.sort(np.exp(ranks)), np.arange(1, len(ranks) + 1), rtol=1e-5)


def test_the_scorer_needs_retrievers(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    encoder = CachedTextEncoder(OneHotEncoder("a"), tmp_path)
    with pytest.raises(ConfigError, match=r"candidates.retrieval is empty. Remedy: candidates.retrieval="):
        TextPreparer(tiny_kb, encoder, ("retrieval",), Selection())([document("[Mira]")])


def test_a_batch_without_mentions(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    for documents in ((), (Document("d", "Nobody."),)):
        inputs = prepared(tiny_kb, tmp_path, Selection(), *documents, scorers=("retrieval",))
        assert inputs.features.shape[0] == 0


@pytest.fixture(scope="module")
def trained(films: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("retrieval") / "run"
    overrides = [
        f"candidates.retrieval=[{','.join(ALL)}]",
        "candidates.retrieved_k=12",
        "candidates.annotations=true",
        "candidates.dense_train.epochs=2",
        "candidates.dense_train.folds=2",
        "model.scorers=[prior,context,retrieval]",
        "train.epochs=2",
    ]
    train_linker(small_config(films, tiny_encoder, run, *overrides), restart=False, say=lambda _: None)
    return run


def test_a_run_keeps_its_retrieval(trained: Path, films: Path) -> None:
    about = json.loads((trained / "retrieval.json").read_text())
    assert list(about["weights"]) == ALL and sum(about["weights"].values()) == pytest.approx(1)
    assert about["tuned"]["on"] == ["val"] and about["tuned"]["mentions"] > 0
    assert about["tuned"]["recall_at"].keys() == {"10", "50", "100"}
    linker = Linker.from_pretrained(trained)
    assert linker.text is not None
    retrieval = linker.text.preparer.retrieval
    assert retrieval is not None
    np.testing.assert_allclose(retrieval.ensemble.weights, list(about["weights"].values()))
    documents = list(read_documents(films / "documents.val.jsonl"))
    metrics = json.loads((trained / "metrics.json").read_text())["validation"]["val"]
    inputs = linker.text.preparer(documents)
    assert inputs.recall == pytest.approx(metrics["candidate_recall_steps"])
    dense = retrieval.ensemble.members[ALL.index("dense")]
    assert float(dense.heads.mention.detach().abs().max()) > 0  # type: ignore[attr-defined]
    table = MentionTable.of(documents, linker.kb)
    assert dense.score(table, inputs.candidates.ids[:, :1]).std() > 0


def test_a_linker_without_its_retrieval_is_one_clear_error(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "retrieval.safetensors").unlink()
    with pytest.raises(InputError, match=r"retrieval.safetensors: is no whole checkpoint"):
        Linker.from_pretrained(copy)
    shutil.copy(trained / "retrieval.safetensors", copy)
    about = json.loads((copy / "retrieval.json").read_text())
    del about["weights"]["bm25"]
    (copy / "retrieval.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"has weights of annotations, names, dense, the settings name .*bm25"):
        Linker.from_pretrained(copy)


def test_settings_of_older_runs_have_no_retrieval(tmp_path: Path) -> None:
    old = Config().to_dict()
    for key in ("retrieval", "retrieved_k", "keep_retrieved", "dense_train"):
        del old["candidates"][key]
    (tmp_path / "config.yaml").write_text(to_yaml(old))
    assert Config.load(tmp_path).candidates == Config().candidates
    assert Config().candidates.retrieval == ()
