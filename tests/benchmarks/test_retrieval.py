"""The table of candidate retrieval on a small film world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.retrieval import DEPTHS, combinations, main, measure, published
from mmel.candidates.retrieval.base import Retrieved
from tests.encoders.images.models import write_clip
from tests.tiny import write_film_world


def test_ensembles_are_those_of_what_is_on() -> None:
    assert combinations(["annotations", "names", "bm25", "dense"]) == {
        "P+T": ["annotations", "dense"],
        "N+T": ["names", "dense"],
        "P+N": ["annotations", "names"],
        "all": ["annotations", "names", "bm25", "dense"],
    }
    assert combinations(["names", "bm25"]) == {"N+T": ["names", "bm25"]}
    assert combinations(["names"]) == {}
    seen = combinations(["annotations", "dense", "clip-text-image"])
    assert list(seen) == ["P+T", "T+V (text-image)", "P+T+V (text-image)", "all"]
    assert seen["T+V (text-image)"] == ["dense", "clip-text-image"]


def test_published_numbers_are_those_of_the_table() -> None:
    rows = published()
    assert len(rows) == 7 and all(f"R@{k}" in row for row in rows for k in DEPTHS)


def test_equals_share_their_ranks() -> None:
    class Fixed:
        def retrieve(self, table: Any, k: int) -> Retrieved:
            ids = np.array([[0, 1, 2, 3], [0, 1, -1, -1], [3, 0, -1, -1], [1, 2, 3, 0]])
            scores = np.array([[5, 5, 5, 5], [7, 7, 0, 0], [7, 6, 0, 0], [4, 3, 2, 1]], np.float32)
            return Retrieved(ids, scores)

    class Table:
        gold = np.array([0, 0, 3, -1])

        def __len__(self) -> int:
            return len(self.gold)

    row = measure(Fixed(), Table())  # type: ignore[arg-type]
    # Of four equals any may be first: only the third mention has its entity before all others.
    assert (row["R@1"], row["R@10"], row["mentions"]) == (33.33, 100, 3)


def test_a_small_world(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMEL_CACHE", str(tmp_path))
    arguments = ["movies", "--root", str(films), "--retrievers", "annotations", "names", "--limit", "10"]
    assert main([*arguments, "--json", str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["protocol"]["split"] == "val" and "left out" in result["protocol"]["weights_on"]
    rows = {row["system"]: row for row in result["rows"]}
    assert list(rows) == ["annotations", "names", "P+N"]
    for row in rows.values():
        assert 0 <= row["R@1"] <= row["R@10"] <= row["R@50"] <= row["R@100"] <= 100 and row["ms"] >= 0
    last = result["text"]
    assert last["recall_at"] == {str(k): rows["P+N"][f"R@{k}"] / 100 for k in (1, 10, 50, 100)}
    assert (last["mentions"], result["protocol"]["candidates"]) == (rows["P+N"]["mentions"], "P+N")
    assert rows["P+N"]["R@100"] >= max(rows["names"]["R@50"], 50)
    capsys.readouterr()
    assert main([*arguments, "--tune", "val"]) == 0
    text = capsys.readouterr().out
    assert "weights tuned on val" in text.splitlines()[0] and "gold not injected" in text
    assert len(text.splitlines()) == 5, "published numbers stand beside their own dataset only"


def test_pictures_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open_clip")
    monkeypatch.setenv("MMEL_CACHE", str(tmp_path / "cache"))
    films = write_film_world(tmp_path / "films", 6, {"train": 6, "val": 4}, 3)
    clip = write_clip(tmp_path / "benchmark-clip")
    arguments = ["movies", "--root", str(films), "--retrievers", "annotations", "bm25"]
    out = tmp_path / "out.json"
    assert main([*arguments, "--json", str(out), "--clip", f"open-clip:local-dir:{clip}"]) == 0
    rows = {row["system"]: row for row in json.loads(out.read_text())["rows"]}
    assert {"clip-text-image", "clip-image-image", "T+V (image-image)", "P+T+V (text-image)", "all"} <= set(rows)
    assert len(rows["P+T+V (text-image)"]["weights"].split()) == 6
