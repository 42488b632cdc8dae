"""The command: raw input in, a file of links and a summary out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import read_documents, read_linked
from mmel.linker import Linker
from mmel.score import main
from mmel.scoring.partial import OutputError


@pytest.fixture
def arguments(films: Path, film_run: Path, tmp_path: Path) -> list[str]:
    return [
        str(films / "documents.val.jsonl"), "--model", str(film_run), "--out", str(tmp_path / "linked.jsonl"),
    ]  # fmt: skip


def test_documents_are_linked_as_the_linker_does(
    arguments: list[str], films: Path, film_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json", "--top-k", "2", "--batch", "8", "--workers", "1"]) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    documents = list(read_documents(films / "documents.val.jsonl"))
    mentions = sum(len(one.text_mentions) for one in documents)
    assert summary["documents"] == 20 and summary["names"]["linked"] == mentions and summary["skipped"] == {}
    assert summary["documents_per_second"] > 0 and summary["out"] == arguments[-1]
    assert printed.err.startswith(f"20 documents: {mentions} names") and "linked.jsonl" in printed.err
    linked = list(read_linked(tmp_path / "linked.jsonl"))
    expected = list(Linker.from_pretrained(film_run).link(documents))
    assert [one.document.id for one in linked] == [one.id for one in documents]
    for one, other in zip(linked, expected, strict=True):
        assert [link.entity for link in one.text_links] == [link.entity for link in other.text_links]
        assert all(len(link.candidates) <= 2 for link in one.text_links)


def test_a_report_shows_the_links(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--report", str(tmp_path / "page.html")]) == 0
    assert " x picture of the report cannot be read" in capsys.readouterr().err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "documents.val.jsonl" in page and "linked by run" in page


def test_a_report_that_cannot_be_written_leaves_the_links(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"--report .*page.html: cannot be written .*the linked documents are in"):
        main([*arguments, "--report", str(tmp_path / "file" / "page.html")])
    assert len(list(read_linked(tmp_path / "linked.jsonl"))) == 20


@pytest.mark.parametrize(("name", "begins"), [("linked.ttl", "@prefix"), ("x.linked_articles.jsonl", '{"id": 0')])
def test_other_formats_go_by_the_name(arguments: list[str], tmp_path: Path, name: str, begins: str) -> None:
    arguments[-1] = str(tmp_path / name)
    assert main(arguments) == 0
    assert (tmp_path / name).read_text().startswith(begins)


def test_uris_of_entities_can_be_named(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--entity-base is for uris of NIF, and the format is jsonl"):
        main([*arguments, "--entity-base", "http://example.org/"])
    assert main([*arguments, "--format", "nif", "--entity-base", "http://example.org/"]) == 0
    turtle = (tmp_path / "linked.jsonl").read_text()
    assert "itsrdf:taIdentRef <http://example.org/" in turtle and "mmel.invalid/entities" not in turtle


def test_neither_the_input_nor_the_other_output_is_overwritten(arguments: list[str], tmp_path: Path) -> None:
    review, linked = tmp_path / "review.txt", tmp_path / "linked.jsonl"
    review.write_text("Nick plays.")
    (tmp_path / "link.jsonl").symlink_to(review)
    for out in (review, tmp_path / "link.jsonl"):
        with pytest.raises(ConfigError, match=r"--out .*: is the input\. Remedy"):
            main([str(review), *arguments[1:-1], str(out)])
    with pytest.raises(ConfigError, match=r"--report .*review\.txt: is the input"):
        main([str(review), *arguments[1:], "--report", str(review)])
    with pytest.raises(ConfigError, match="--report .*: is what --out writes"):
        main([str(review), *arguments[1:], "--report", str(linked)])
    for option in ("--out", "--report"):
        with pytest.raises(InputError, match="is a folder. Remedy: name a file"):
            main([str(review), *arguments[1:], option, str(tmp_path)])
    assert review.read_text() == "Nick plays." and not linked.exists()


def test_what_is_passed_over_sets_the_exit_code(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Path(arguments[0]).read_text().splitlines()[:3]
    lines[1] = lines[1][:30]
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, lines[0]]))
    assert main([str(tmp_path / "in.jsonl"), *arguments[1:]]) == 1
    told = capsys.readouterr().err
    assert "2 documents" in told and "skipped 1: broken record" in told and "skipped 1: id stands twice" in told
    assert "line 4" in told and "line 1" in told


def test_an_unfinished_output_is_kept_until_told_otherwise(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "linked.jsonl.partial").write_text("")
    with pytest.raises(InputError, match="left unfinished.*--resume.*--restart"):
        main(arguments)
    assert main([*arguments, "--restart"]) == 0
    with pytest.raises(InputError, match="is finished"):
        main([*arguments, "--resume"])


def test_another_model_is_not_gone_on_with(
    arguments: list[str],
    film_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        from mmel.scoring.partial import PartialOutput

        write = PartialOutput.write
        patched.setattr(PartialOutput, "write", lambda *a: write(*a) if not a[0].progress.documents else stop())
        with pytest.raises(KeyboardInterrupt):
            main([*arguments, "--batch", "8"])
    assert "8 documents stay in" in capsys.readouterr().err
    other = tmp_path / "other"
    shutil.copytree(film_run, other)
    with open(other / "config.yaml", "a") as stream:
        stream.write("# another\n")
    with pytest.raises(InputError, match="begun with --batch 8, this is 4"):
        main([*arguments, "--batch", "4", "--resume"])
    moved = [*arguments, "--batch", "8", "--resume"]
    moved[moved.index("--model") + 1] = str(other)
    with pytest.raises(InputError, match="begun with model [0-9a-f]{16}, this is [0-9a-f]{16}"):
        main(moved)
    assert main([*arguments, "--batch", "8", "--resume"]) == 0


def test_a_base_of_another_model_is_refused(arguments: list[str], films: Path, tiny_kb_folder: Path) -> None:
    with pytest.raises(InputError, match="is another knowledge base"):
        main([*arguments, "--kb", str(tiny_kb_folder)])
    assert main([*arguments, "--kb", str(films.parent / "kb")]) == 0


@pytest.mark.parametrize(
    ("option", "value", "error", "message"),
    [
        ("--model", "nowhere", InputError, "nowhere: is no folder of a trained model"),
        ("--kb", "nowhere", InputError, "nowhere"),
        ("--pictures", "nowhere", InputError, "nowhere: is no folder"),
        ("--top-k", "0", ConfigError, "must be at least 1"),
        ("--workers", "0", ConfigError, "must be at least 1"),
        ("--topk", "1", ConfigError, "Did you mean '--top-k'"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], option: str, value: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        main([*arguments, option, value])
    assert message in str(caught.value)


def test_a_model_that_is_missing_is_told_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^nowhere: is no folder of a trained model. Remedy: "):
        main(["no input", "--model", "nowhere", "--out", str(tmp_path)])


def test_what_is_needed_is_named(arguments: list[str]) -> None:
    for option in ("--model", "--out"):
        at = arguments.index(option)
        with pytest.raises(ConfigError, match=f"required: {option}"):
            main(arguments[:at] + arguments[at + 2 :])
    with pytest.raises(InputError, match="gone.txt: is not there"):
        main(["gone.txt", *arguments[1:]])
