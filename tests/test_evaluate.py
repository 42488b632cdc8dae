from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmel.datasets.movies import Movies
from mmel.detection import Span
from mmel.document import Document
from mmel.errors import ConfigError, InputError
from mmel.evaluate import main
from mmel.formats.jsonl import read_documents, read_linked
from mmel.kb import KnowledgeBase
from mmel.linker import Linker


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
    assert "protocol: candidates kb (" in text
    assert "gold not injected, NIL ignored, ties realistic, missing images 0 (masked)" in text
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
    among = saved["protocol"].pop("competing")
    assert among.endswith(f" of {len(KnowledgeBase.open(Path(arguments[-1]))):,}") and " to " in among
    assert saved["protocol"] == {
        "candidates": "kb",
        "gold_injected": False,
        "nil": "ignored",
        "missing_images": 0,
        "missing_policy": "masked",
        "ties": "realistic",
    }
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
        ("--model", "nowhere", InputError, "nowhere: is no folder of a trained model"),
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


def test_pictures_that_are_not_read_cannot_be_swapped(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="--swap-pictures: .* reads no pictures. Remedy: "):
        main([*arguments, "--swap-pictures", "0"])


def test_a_split_is_missed_before_the_model_is_opened(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmel.evaluate._open", lambda *_: pytest.fail("opened"))
    arguments[arguments.index("--split") + 1] = "vla"
    with pytest.raises(ConfigError, match="has no split 'vla'"):
        main(arguments)


def test_a_model_that_is_missing_is_told_before_anything_else(arguments: list[str]) -> None:
    for option in ("--root", "--model", "--kb", "--dataset"):
        arguments[arguments.index(option) + 1] = "nowhere"
    with pytest.raises(InputError, match="^nowhere: is no folder of a trained model. Remedy: "):
        main(arguments)


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


class Told:
    """Finds the gold mentions of texts it is told, but the first of each, and the first word of the text."""

    id = "told"

    def __init__(self, documents: Sequence[Document]) -> None:
        self._spans = {one.text: [Span(m.start, m.end, 0.9) for m in one.text_mentions][1:] for one in documents}

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        return [[Span(0, 1, 0.5), *self._spans[text]] for text in texts]


def give_detector(monkeypatch: pytest.MonkeyPatch, detector: Told | None) -> None:
    """Every linker that is opened has this detector of names."""
    opened = Linker.from_pretrained

    def with_detector(*given: Any, **named: Any) -> Linker:
        linker = opened(*given, **named)
        linker.detector = detector
        return linker

    monkeypatch.setattr(Linker, "from_pretrained", with_detector)


def test_mentions_are_found_and_linked_from_raw_texts(
    arguments: list[str],
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    documents = list(read_documents(films / "documents.val.jsonl"))
    give_detector(monkeypatch, Told(documents))
    file = tmp_path / "scores.json"
    assert main([*arguments, "--from-text", "--json", str(file)]) == 0
    saved = json.loads(file.read_text())
    ends = saved["end_to_end"]
    assert set(ends) == {"match", "least_iou", "gold", "seconds", "documents_per_second", "text"}
    assert ends["seconds"] > 0 and ends["gold"].startswith("distant")
    gold = sum(len(one.text_mentions) for one in documents)
    # Every document has a mention; the first word of one may be the second mention of none.
    found = ends["text"]["detection"]
    assert (found["gold"], found["found"], found["correct"]) == (gold, gold, gold - len(documents))
    linking, both = ends["text"]["linking"]["in_kb"], ends["text"]["both"]["in_kb"]
    assert linking["micro_recall"] == saved["text"]["micro_recall"] and linking["correct"] == saved["text"]["correct"]
    assert both["gold"] == linking["gold"] and 0 < both["correct"] <= gold - len(documents)
    assert ends["text"]["gold_mentions"]["difference"] == pytest.approx(both["micro_recall"] - linking["micro_recall"])
    printed = capsys.readouterr().out
    for part in ("text detection", "text linking (D2KB), in KB", "text both (A2KB), with NIL", "lower bounds"):
        assert part in printed


@pytest.mark.parametrize("option", ["--report", "--out", "--json"])
def test_a_folder_is_refused_before_the_work(arguments: list[str], tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match="is a folder. Remedy: name a file"):
        main([*arguments, option, str(tmp_path)])


def test_finding_mentions_needs_a_detector(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    give_detector(monkeypatch, None)
    with pytest.raises(InputError, match="has a text without mentions, and the run cannot find them"):
        main([*arguments, "--from-text"])


def test_a_found_mention_has_no_candidates_of_a_dataset(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Movies, "candidate_protocol", "kilt")
    with pytest.raises(ConfigError, match="--from-text: the mentions of 'movies' bring their candidates .kilt."):
        main([*arguments, "--from-text"])


def test_nil_is_scored_on_a_base_with_entities_hidden(arguments: list[str], tmp_path: Path) -> None:
    file, linked = tmp_path / "nil.json", tmp_path / "linked.jsonl"
    assert main([*arguments, "--nil", "--hide", "0.3", "--json", str(file), "--out", str(linked)]) == 0
    saved = json.loads(file.read_text())
    assert saved["protocol"]["nil"] == "scored" and "without 0.3" in saved["protocol"]["candidates"]
    assert set(saved["text"]["nil"]) == {"precision", "recall", "f1"}
    assert 0 <= saved["text"]["calibration"]["ece"] <= 1
    pairs = [
        (mention.entity, link.entity)
        for one in read_linked(linked)
        for mention, link in zip(one.document.text_mentions, one.text_links, strict=True)
    ]
    assert {gold == "NIL" for gold, _ in pairs} == {True, False}
    hits = sum(gold == entity == "NIL" for gold, entity in pairs)
    said, missing = sum(entity == "NIL" for _, entity in pairs), sum(gold == "NIL" for gold, _ in pairs)
    assert saved["text"]["nil"]["f1"] == pytest.approx(2 * hits / (said + missing))
    assert saved["text"]["accuracy"] == pytest.approx(sum(gold == entity for gold, entity in pairs) / len(pairs))


def test_hidden_entities_are_drawn_by_their_own_seed(arguments: list[str], tmp_path: Path) -> None:
    found = []
    for seed in ("0", "0", "1"):
        file = tmp_path / "hidden.json"
        assert main([*arguments, "--hide", "0.3", "--hide-seed", seed, "--json", str(file)]) == 0
        found.append(json.loads(file.read_text())["text"])
    assert found[0] == found[1] != found[2]
    assert "nil" not in found[0]


def test_nil_needs_a_run_that_learned_it(arguments: list[str], film_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(film_run, run)
    (run / "confidence.json").unlink()
    arguments[arguments.index(str(film_run))] = str(run)
    with pytest.raises(ConfigError, match="has learned no NIL"):
        main([*arguments, "--nil"])


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "nan"])
def test_a_share_that_is_none_is_refused(arguments: list[str], share: str) -> None:
    with pytest.raises(ConfigError, match="--hide"):
        main([*arguments, f"--hide={share}"])
