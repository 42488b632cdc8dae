"""The table of candidate retrieval on a small film world."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.retrieval import DEPTHS, combinations, main, published


def test_ensembles_are_those_of_what_is_on() -> None:
    assert combinations(["annotations", "names", "bm25", "dense"]) == {
        "P+T": ["annotations", "dense"],
        "N+T": ["names", "dense"],
        "P+N": ["annotations", "names"],
        "all": ["annotations", "names", "bm25", "dense"],
    }
    assert combinations(["names", "bm25"]) == {"N+T": ["names", "bm25"]}
    assert combinations(["names"]) == {}


def test_published_numbers_are_those_of_the_table() -> None:
    rows = published()
    assert len(rows) == 7 and all(f"R@{k}" in row for row in rows for k in DEPTHS)


def test_a_small_world(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMEL_CACHE", str(tmp_path))
    arguments = ["movies", "--root", str(films), "--retrievers", "annotations", "names", "--limit", "10"]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["protocol"]["split"] == "val" and "left out" in result["protocol"]["weights_on"]
    rows = {row["system"]: row for row in result["rows"]}
    assert list(rows) == ["annotations", "names", "P+N"]
    for row in rows.values():
        assert 0 <= row["R@1"] <= row["R@10"] <= row["R@50"] <= row["R@100"] <= 100 and row["ms"] >= 0
    assert rows["P+N"]["R@100"] >= max(rows["names"]["R@50"], 50)
    assert main([*arguments, "--tune", "val"]) == 0
    text = capsys.readouterr().out
    assert "weights tuned on val" in text.splitlines()[0] and "gold not injected" in text
    assert len(text.splitlines()) == 5, "published numbers stand beside their own dataset only"
