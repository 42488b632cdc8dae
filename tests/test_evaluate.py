from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmel.errors import ConfigError, InputError
from mmel.evaluate import main
from mmel.formats.jsonl import read_documents, read_linked


@pytest.fixture
def arguments(films: Path, film_run: Path) -> list[str]:
    return [
        "--model", str(film_run), "--dataset", "movies", "--root", str(films), "--split", "val",
        "--kb", str(films.parent / "kb"),
    ]  # fmt: skip


def test_scores_stand_beside_their_protocol(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "movies val: 20 documents" in text
    assert "protocol: candidates kb, gold not injected, NIL ignored, missing images 0" in text
    assert "micro, in KB" in text and "candidate recall" in text


def test_json_is_that_of_training(
    arguments: list[str], film_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.json"
    assert main([*arguments, "--json", str(file)]) == 0
    assert "protocol: " in capsys.readouterr().out
    saved = json.loads(file.read_text())
    for form in (["--json", "-"], ["--json"]):
        assert main([*arguments, *form]) == 0
        printed = json.loads(capsys.readouterr().out)
        clock = ("seconds", "documents_per_second")
        assert {k: v for k, v in printed.items() if k not in clock} == {
            k: v for k, v in saved.items() if k not in clock
        }
    assert list(saved) == ["dataset", "split", "protocol", "documents", "text", "seconds", "documents_per_second"]
    assert saved["protocol"] == {"candidates": "kb", "gold_injected": False, "nil": "ignored", "missing_images": 0}
    assert saved["seconds"] > 0 and saved["documents_per_second"] == pytest.approx(20 / saved["seconds"])
    trained = json.loads((film_run / "metrics.json").read_text())["validation"]["val"]
    assert saved["text"] == trained["text"] and saved["documents"] == trained["documents"]


def test_linked_documents_can_be_kept(arguments: list[str], films: Path, tmp_path: Path) -> None:
    assert main([*arguments, "--out", str(tmp_path / "linked.jsonl")]) == 0
    linked = list(read_linked(tmp_path / "linked.jsonl"))
    expected = list(read_documents(films / "documents.val.jsonl"))
    assert [one.document.id for one in linked] == [one.id for one in expected]
    for one, document in zip(linked, expected, strict=True):
        assert [m.entity for m in one.document.text_mentions] == [m.entity for m in document.text_mentions]
        assert all(link.candidates for link in one.text_links)


def test_a_skip_is_reported_and_sets_the_exit_code(
    arguments: list[str], films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "films"
    shutil.copytree(films, root)
    lines = (root / "documents.val.jsonl").read_text().splitlines()
    lines[2] = lines[2][:40]
    (root / "documents.val.jsonl").write_text("\n".join(lines) + "\n")
    arguments[arguments.index(str(films))] = str(root)
    assert main([*arguments, "--json", str(tmp_path / "scores.json")]) == 1
    printed = capsys.readouterr()
    assert "19 documents" in printed.out
    assert "skipped 1: " in printed.err and "documents.val.jsonl:3" in printed.err
    assert json.loads((tmp_path / "scores.json").read_text())["documents"] == 19


def test_the_base_of_the_dataset_serves_where_none_is_named(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Built from the same records, it is of the same content as the model's own."""
    monkeypatch.setenv("MMEL_CACHE", str(tmp_path))
    assert main(arguments) == 0
    named = capsys.readouterr().out.splitlines()[1:]
    assert main(arguments[:-2]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == named
    assert list((tmp_path / "kb").iterdir())


def test_another_base_is_refused(arguments: list[str], tiny_kb_folder: Path) -> None:
    arguments[-1] = str(tiny_kb_folder)
    with pytest.raises(InputError, match="trained for 'films'.*is another knowledge base.*--kb"):
        main(arguments)


@pytest.mark.parametrize(
    ("option", "value", "error", "message"),
    [
        ("--split", "vla", ConfigError, "Did you mean 'val'?"),
        ("--split", "", ConfigError, "has no split ''"),
        ("--dataset", "movie", ConfigError, "Did you mean 'movies'?"),
        ("--root", "nowhere", InputError, "nowhere: is no folder"),
        ("--model", "nowhere", InputError, "nowhere: holds no trained model"),
        ("--kb", "nowhere", InputError, "nowhere"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], option: str, value: str, error: type[Exception], message: str
) -> None:
    arguments[arguments.index(option) + 1] = value
    with pytest.raises(error) as caught:
        main(arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("option", ["--model", "--dataset", "--split"])
def test_what_is_needed_is_named(arguments: list[str], option: str) -> None:
    at = arguments.index(option)
    with pytest.raises(ConfigError, match=f"required: {option}"):
        main(arguments[:at] + arguments[at + 2 :])


def test_a_report_shows_every_link_of_the_texts(arguments: list[str], films: Path, tmp_path: Path) -> None:
    assert main([*arguments, "--report", str(tmp_path / "page.html"), "--out", str(tmp_path / "linked.jsonl")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    links = [link for one in read_linked(tmp_path / "linked.jsonl") for link in one.text_links]
    assert page.count('<a class="m ') == len(links) and "movies val: 20 documents" in page
