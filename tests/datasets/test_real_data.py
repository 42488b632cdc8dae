from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmel.data import main


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "folder"), [("aida", "aida"), ("msnbc", ""), ("ace2004", ""), ("movies", "movies")], ids=lambda x: x
)
def test_the_folder_is_what_the_card_says(
    name: str, folder: str, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", name, "--root", str(data_root / folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert not report["skips"]
