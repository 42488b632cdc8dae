from __future__ import annotations

import json

import pytest

from mmel.data import main
from mmel.datasets import open_dataset
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
