"""The commands of `python -m mmel.kb`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmel.document import Entity
from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import entity_record, write_entities
from mmel.kb import KnowledgeBase
from mmel.kb.__main__ import main


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert main([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_build_add_and_stats(tmp_path: Path, entities: tuple[Entity, ...], capsys: pytest.CaptureFixture[str]) -> None:
    write_entities(tmp_path / "kb.jsonl", entities)
    (tmp_path / "more.tsv").write_text("Mira\tP2\t1\nMira\tnobody\t1\n")
    folder = tmp_path / "kb"
    arguments = ["build", "--entities", tmp_path / "kb.jsonl", "--out", folder, "--date", "2020-02-02"]
    (meta,) = _json(capsys, *arguments, "--prior", f"more={tmp_path / 'more.tsv'}")
    assert (meta["entities"], meta["date"], meta["source"], meta["name"]) == (6, "2020-02-02", "kb.jsonl", "kb")
    assert meta["priors"][0]["unknown"] == 1
    write_entities(tmp_path / "few.jsonl", [Entity("N", "New")])
    (added,) = _json(capsys, "add", "--entities", tmp_path / "few.jsonl", "--kb", folder)
    assert (added["new"], added["updated"], added["meta"]["revision"]) == (1, 0, 2)
    (stats,) = _json(capsys, "stats", "--kb", folder)
    assert stats["entities"] == 7
    assert stats["content_hash"] == KnowledgeBase.open(folder).meta.content_hash


def test_get_lookup_and_search(
    kb_folder: Path, entities: tuple[Entity, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _json(capsys, "get", "F1", "--kb", kb_folder) == [entity_record(entities[0])]
    assert _json(capsys, "get", "Zoe Quill", "--kb", kb_folder) == [entity_record(entities[5])]
    found = _json(capsys, "lookup", "Mira", "nothing at all", "--kb", kb_folder, "-k", 1)
    assert found == [
        {
            "surface": "Mira",
            "matches": [{"id": "C3", "title": "Mira (Salt Road)", "prior": 0.6, "count": 12.0, "how": "exact"}],
        },
        {"surface": "nothing at all", "matches": []},
    ]
    assert _json(capsys, "lookup", "The Glas Harbour", "--no-fuzzy", "--kb", kb_folder)[0]["matches"] == []
    assert _json(capsys, "search", "salt", "trader", "--kb", kb_folder)[0]["id"] == "C3"


def test_what_people_read(kb_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, shown in [
        (["get", "F1"], "year         1961"),
        (["lookup", "mira"], "mira: 3 folded"),
        (["lookup", "qqq"], "qqq: nothing"),
        (["search", "salt"], "Mira (Salt Road)"),
        (["stats"], "content_hash"),
    ]:
        assert main([*arguments, "--kb", str(kb_folder)]) == 0
        assert shown in capsys.readouterr().out


def test_broken_lines_can_be_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kb.jsonl").write_text('{"id": "A", "title": "A"}\n{"id": \n')
    arguments = ["build", "--entities", str(tmp_path / "kb.jsonl"), "--out", str(tmp_path / "kb")]
    with pytest.raises(InputError, match=r"kb\.jsonl:2"):
        main(arguments)
    assert main([*arguments, "--skip-bad"]) == 1
    said = capsys.readouterr()
    assert "1 entities" in said.out
    assert "skipped 1" in said.err
    assert len(KnowledgeBase.open(tmp_path / "kb")) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["lokup", "x"], "Did you mean 'lookup'"),
        (["lookup", "x"], "--kb"),
        (["lookup", "x", "--kb", "kb", "-k", "0"], "'0' is not a whole number"),
        (["lookup", "x", "--kb", "kb", "--threshold", "2"], "'2' is not a number from 0 to 1"),
        (["lookup", "x", "--kb", "kb", "--no-fuzy"], "Did you mean '--no-fuzzy'"),
        (["build", "--entities", "x", "--out", "y", "--prior", "p.tsv"], "'p.tsv' is not NAME=FILE"),
        (["build", "--entities", "x", "--out", "y", "--prior", "a=p", "--prior", "a=q"], "names 'a' twice"),
        (["build", "--entities", "x", "--out", "y", "--date", "May"], "'May' is not a date"),
    ],
)
def test_wrong_words(arguments: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        main(arguments)


@pytest.mark.parametrize("command", ["build", "add", "get", "lookup", "search", "stats"])
def test_every_command_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert f"example:\n  python -m mmel.kb {command}" in said
    assert "--json" in said
