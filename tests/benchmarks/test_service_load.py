"""The load benchmark counts what a service answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.service_load import Measured, main
from mmel.document import Document
from mmel.formats.jsonl import write_documents
from mmel.service.limits import Limits
from tests.service.pictures import picture
from tests.service.standin import running


def test_a_service_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    documents = [Document("1", "Tom met Ann.", images=("a.png",)), Document("2", "Ann")]
    write_documents(tmp_path / "documents.jsonl", documents)
    with running() as service:
        url = f"http://127.0.0.1:{service.port}"
        arguments = ["--documents", str(tmp_path / "documents.jsonl"), "--url", url, "--seconds", "0.2"]
        assert main([*arguments, "--clients", "3"]) == 0
        assert "requests_per_second" in capsys.readouterr().out
        assert not service.left_behind()
    with running(limits=Limits(characters=4)) as service:
        assert main([*arguments[:3], f"http://127.0.0.1:{service.port}", *arguments[4:], "--clients", "1"]) == 1
        assert "413" in capsys.readouterr().out


def test_percentiles_are_of_what_was_answered() -> None:
    measured = Measured([0.1, 0.2, 0.3])
    measured.errors["503"] += 2
    told = measured.table(2.0)
    assert (told["requests"], told["errors"], told["requests_per_second"]) == (5, 2, 1.5)
    assert (told["p50_ms"], told["max_ms"], told["by_error"]) == (200.0, 300.0, {"503": 2})
    assert "p50_ms" not in Measured().table(1)
