"""What is learned of confidence: calibrated on held-out documents, and the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmel.confidence import CASES, Evidence
from mmel.evaluation.calibration import calibration
from mmel.formats.jsonl import read_documents
from mmel.kb.hide import hidden_base
from mmel.linker import Linker
from mmel.training.confidence import Outcomes, best_threshold, fit_curve, fit_modality, on_base
from mmel.training.run import RunFolder


def invented(seed: int, n: int = 1600) -> Outcomes:
    """Mentions whose case depends on two of five numbers, eight to a document."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, 5))
    logits = np.stack([2 * values[:, 0], 2 * values[:, 1] - 1, np.full(n, -1.0)], 1)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    case = (random.random(n)[:, None] > p.cumsum(1)).sum(1).clip(max=2)
    document = np.arange(n) // 8
    names = tuple("abcde")
    return Outcomes(Evidence(values, names, document, np.arange(n) % 8), case, document, np.arange(n) % 2 == 0, (3, 4))


def test_a_fit_is_calibrated_on_other_documents() -> None:
    fitted, fresh = fit_modality(invented(0), (), 0), invented(1, 20_000)
    right, nil = fitted(fresh.evidence)
    assert calibration(right, fresh.case == CASES.index("right")).ece < 0.06
    assert calibration(nil, fresh.case == CASES.index("nil")).ece < 0.06
    assert fitted.unlisted == pytest.approx(4 / 6)
    assert (right + nil <= 1.1).all()
    decided = nil >= fitted.threshold
    hits = (decided & (fresh.case == 1)).sum()
    assert 2 * hits / (decided.sum() + (fresh.case == 1).sum()) > 0.55


def test_a_fit_is_the_same_for_the_same_seed() -> None:
    assert fit_modality(invented(0, 400), (), 3).state() == fit_modality(invented(0, 400), (), 3).state()


@pytest.mark.parametrize("case", [0, 1])
def test_one_case_only_leaves_the_others_improbable(case: int) -> None:
    found = invented(0, 200)
    only = Outcomes(found.evidence, np.full(200, case), found.group, found.hidden, (0, 0))
    probabilities = fit_modality(only, (), 0)(found.evidence)
    assert (probabilities[case] > 0.8).all()
    assert (probabilities[1 - case] < 0.2).all()


def test_curves_follow_the_frequencies_of_any_shape() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=4000) * 2
    group = np.arange(4000) // 4
    for truth in (1 / (1 + np.exp(-0.5 * x + 1)), np.where(x > 0, 0.9, 0.2)):
        right = random.random(4000) < truth
        curve = fit_curve(x, right, group, 0)
        assert abs(curve(x) - truth).mean() < 0.04
        assert (np.diff(curve(np.sort(x))) >= 0).all()
    # What says the opposite of what is asked says nothing, for a curve never falls.
    upside_down = fit_curve(x, random.random(4000) < 1 / (1 + np.exp(x)), group, 0)
    assert np.ptp(upside_down(x)) < 0.05


def test_the_threshold_has_the_best_f1() -> None:
    nil, missing = np.array([0.1, 0.3, 0.4, 0.6, 0.9]), np.array([False, False, True, True, True])
    assert 0.3 < best_threshold(nil, missing, 0, 0) <= 0.4
    # Where most is missing anyhow, everything is NIL.
    assert best_threshold(np.array([0.2, 0.3]), np.array([True, True]), 5, 5) <= 0.2


def test_a_linker_on_a_smaller_base_links_as_one_that_was_opened_on_it(film_run: Path, films: Path) -> None:
    linker = Linker.from_pretrained(film_run)
    documents = list(read_documents(films / "documents.val.jsonl"))
    with hidden_base(linker.kb, 0.2, 5) as kb:
        seen = list(on_base(linker, kb).link(documents, nil=False))
        opened = list(Linker.from_pretrained(film_run, kb, check_kb=False).link(documents, nil=False))
        pairs = [
            (a, b) for x, y in zip(seen, opened, strict=True) for a, b in zip(x.text_links, y.text_links, strict=True)
        ]
        for a, b in pairs:
            assert (kb.indices([one.entity for one in a.candidates]) >= 0).all()
            assert bool(a.candidates) == bool(b.candidates)
        # Texts of entities still name what is hidden, so that scores are near and not the same.
        assert np.mean([a.entity == b.entity for a, b in pairs]) > 0.8


def test_a_run_learns_it(film_run: Path) -> None:
    run = RunFolder(film_run)
    value = json.loads(run.confidence_file.read_text())
    assert set(value) == {"text"}
    assert 0.05 <= value["text"]["threshold"] <= 0.95
    linker = Linker.from_pretrained(film_run)
    assert linker.confidence is not None and linker.confidence.text is not None
    assert "confidence" in json.loads(run.metrics_file.read_text())["seconds"]
    assert run.confidence_file in vars(run).values()  # so that --restart removes it
