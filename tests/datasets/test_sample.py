from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmel.data import main
from mmel.datasets import open_dataset
from mmel.datasets.filmworld import generate
from mmel.datasets.sample import Sample
from mmel.errors import ConfigError


def test_the_sample_is_what_its_card_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "sample", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert report["protocol"] == "kb"
    assert all(split["candidate_recall"] == 1 for split in report["splits"].values())


def test_the_sample_takes_no_root() -> None:
    with pytest.raises(ConfigError, match="takes no root"):
        open_dataset("sample", ".")


def test_two_openings_are_equal() -> None:
    first, second = open_dataset("sample"), open_dataset("sample")
    assert list(first.entities()) == list(second.entities())
    assert list(first.documents("val")) == list(second.documents("val")) == list(first.documents("val"))


def test_pictures_are_drawn_once_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMEL_CACHE", str(tmp_path))
    monkeypatch.setattr("mmel.datasets.sample.generate", lambda: generate(6, {"train": 2, "val": 1, "test": 1}))
    dataset = Sample()
    images = [mention.image for document in dataset.documents("train") for mention in document.visual_mentions]
    assert not list(tmp_path.iterdir())
    drawn = {image: (dataset.pictures / image).stat().st_mtime_ns for image in images}
    assert images
    again = Sample().pictures
    assert {image: (again / image).stat().st_mtime_ns for image in images} == drawn
