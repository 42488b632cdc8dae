"""The benchmark runner on a toy experiment whose commands are tiny scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report, spec
from benchmarks.__main__ import main
from benchmarks.runner import FAILED, NEW, OFF, OK, Row, Runner, arguments, parse_roots, within
from benchmarks.spec import Measured, Score, load
from mmel.datasets.card import read_card
from mmel.errors import ConfigError, InputError

BENCHMARKS = load()
MENTIONS = read_card("sample").splits["test"].linked

TRAIN = """
import pathlib, sys
run, seed = sys.argv[1:]
pathlib.Path(run).mkdir(parents=True, exist_ok=True)
pathlib.Path(run, "seed").write_text(seed)
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    calls.write(f"train {seed}\\n")
if (pathlib.Path(__file__).with_name("broken")).exists():
    sys.exit("no room on the disk")
"""
EVALUATE = f"""
import json, pathlib, sys
run, out, split = sys.argv[1:]
seed = int(pathlib.Path(run, "seed").read_text())
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    calls.write(f"evaluate {{seed}} {{split}}\\n")
mentions = {MENTIONS} if split == "test" else 1
text = {{"mentions": mentions, "micro_f1": 0.9 + 0.01 * seed, "accuracy": None}}
pathlib.Path(out).write_text(json.dumps({{"protocol": {{"candidates": "kb"}}, "text": text}}))
"""
EXPERIMENT = """
title: "toy | bar"
train: python {folder}/train.py {{run}} {{seed}}
evaluate: python {folder}/evaluate.py {{run}} {{out}} {{split}}
scores:
  # kept when measured values are written
  - on: sample/test
    metric: text.micro_f1
    measured: {measured}
    tolerance: 0.3
"""
TABLE = """
title: Toy
note: Per cent.
columns:
  - {title: toys, on: sample/test}
rows:
  - {title: Others, source: "A paper, table 1", published: {toys: 88}}
  - experiment: toy
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Benchmarks with one experiment, measured at 90, in one table; a README with the markers."""
    write_experiment(tmp_path, "{mean: 90.0, std: 0.0, seeds: [0], date: 2025-01-31}")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "toys.yaml").write_text(TABLE, encoding="utf-8")
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "evaluate.py").write_text(EVALUATE, encoding="utf-8")
    (tmp_path / "README.md").write_text(f"# Toy\n\n{report.BEGIN}\n{report.END}\n\nend\n", encoding="utf-8")
    return tmp_path


def write_experiment(folder: Path, measured: str = "null", name: str = "toy") -> Path:
    path = folder / "experiments" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(EXPERIMENT.format(folder=folder, measured=measured), encoding="utf-8")
    return path


def call(folder: Path, *words: str) -> int:
    return main([*words, "--out", str(folder / "out")], folder=folder, readme=folder / "README.md")


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


# --- the files that are shipped -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BENCHMARKS.experiments))
def test_every_experiment_is_whole(name: str) -> None:
    experiment = BENCHMARKS.experiments[name]
    assert any(name in BENCHMARKS.of_table(table) for table in BENCHMARKS.tables), "stands in no table"
    for score in experiment.scores:
        dataset, split = score.on.split("/")
        assert split in read_card(dataset).splits
        if score.measured is not None:
            assert 0 <= score.measured.mean <= 100
            assert len(set(score.measured.seeds)) == len(score.measured.seeds)
    runner = Runner(BENCHMARKS, {root: Path("no", "such", root) for root in spec.ROOTS})
    assert all(line.startswith("# no ") for line in runner.commands(name))


@pytest.mark.parametrize("name", sorted(BENCHMARKS.experiments))
def test_every_training_command_is_a_config(name: str) -> None:
    from mmel.config import load_config

    for template in BENCHMARKS.experiments[name].train:
        words = arguments(template, {"seed": "3", "run": "out", "shared": "all", **dict.fromkeys(spec.ROOTS, "data")})
        if words[1:3] == ["-m", "mmel.train"]:
            config = load_config(words[3], words[4:])
            assert (config.seed, config.data.root) == (3, Path("data"))
            assert config.run is not None and config.run.parts[0] in ("out", "all")


@pytest.mark.parametrize("name", sorted(BENCHMARKS.tables))
def test_every_table_has_one_cell_a_column(name: str) -> None:
    table = BENCHMARKS.tables[name]
    grid = report.cells(BENCHMARKS, name)
    told = grid[0][-2] == "Protocol"
    assert {len(row) for row in grid} == {len(table.columns) + 2 + told}
    assert len(grid) == len(table.rows) + 1
    assert len({(row[0], row[-1]) for row in grid}) == len(grid)


def test_the_readme_shows_what_the_files_say() -> None:
    text = (spec.HERE.parent / "README.md").read_text(encoding="utf-8")
    shown = text[text.index(report.BEGIN) + len(report.BEGIN) : text.index(report.END)]
    expected = report.markdown(BENCHMARKS, BENCHMARKS.tables)
    assert shown.strip() == expected.strip(), "run: python -m benchmarks --update-readme"


# --- running --------------------------------------------------------------------------------------------------------


def test_ok_and_what_is_there_is_not_run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folder, "--experiment", "toy") == 0
    output = capsys.readouterr().out
    assert "OK            toy" in output
    assert f"90.00 ± 0.00  expected 90.00 ± 0.3; {MENTIONS} mentions, candidates kb" in output
    assert "1 rows: 1 OK;" in output
    assert calls(folder) == ["train 0", "evaluate 0 test"]
    assert call(folder, "--experiment", "toy") == 0
    assert len(calls(folder)) == 2
    assert call(folder, "--experiment", "toy", "--rerun") == 0
    assert len(calls(folder)) == 4


def test_only_the_part_that_is_missing_is_run(folder: Path) -> None:
    call(folder, "--experiment", "toy")
    [result] = folder.glob("out/toy/*/sample-test-*.json")
    result.unlink()
    call(folder, "--experiment", "toy", "--seeds", "0", "1")
    assert calls(folder)[2:] == ["evaluate 0 test", "train 1", "evaluate 1 test"]


def test_another_command_is_another_result(folder: Path) -> None:
    call(folder, "--experiment", "toy")
    path = folder / "experiments" / "toy.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"{folder}/train.py", f"{folder}/./train.py"), encoding="utf-8")
    call(folder, "--experiment", "toy")
    assert calls(folder) == ["train 0", "evaluate 0 test"] * 2
    path.write_text(text.replace(f"{folder}/evaluate.py", f"{folder}/./evaluate.py"), encoding="utf-8")
    call(folder, "--experiment", "toy")
    assert calls(folder)[4:] == ["evaluate 0 test"]
    path.write_text(text.replace("tolerance: 0.3", "tolerance: 0.4"), encoding="utf-8")
    call(folder, "--experiment", "toy")
    assert len(calls(folder)) == 5


def test_off_is_an_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(folder, "{mean: 90.31, std: 0.0, seeds: [0], date: 2025-01-31}")
    assert call(folder, "--table", "toys") == 1
    output = capsys.readouterr().out
    assert "off           toy" in output
    assert "90.00 ± 0.00 (off)" in output


def test_mean_over_seeds_is_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(folder, "{mean: 91.0, std: 1.0, seeds: [0, 1, 2], date: 2025-01-31}")
    assert call(folder, "--experiment", "toy", "--seeds", "0", "1", "2", "2") == 0
    assert "91.00 ± 1.00" in capsys.readouterr().out
    assert sum(line.startswith("train") for line in calls(folder)) == 3


def test_not_measured_is_not_ok_and_no_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(folder)
    assert call(folder, "--experiment", "toy") == 0
    assert "not measured  toy" in capsys.readouterr().out


def test_a_failing_experiment_does_not_stop_the_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = write_experiment(folder, name="aaa")
    broken.write_text(broken.read_text(encoding="utf-8").replace("train.py", "nothing.py"), encoding="utf-8")
    assert call(folder, "--all") == 1
    output = capsys.readouterr().out
    assert "failed        aaa" in output
    assert "exit code 2: " in output
    assert "nothing.py" in output
    assert "OK            toy" in output
    assert "2 rows: 1 OK, 1 failed" in output


def test_a_failed_training_is_tried_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken").touch()
    assert call(folder, "--experiment", "toy") == 1
    assert "seed 0: exit code 1: no room on the disk (log: " in capsys.readouterr().out
    assert calls(folder) == ["train 0"]
    (folder / "broken").unlink()
    assert call(folder, "--experiment", "toy") == 0
    assert calls(folder) == ["train 0", "train 0", "evaluate 0 test"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("python {folder}/evaluate.py {{run}} {{out}} {{split}}", "no-such-program {{out}}", "cannot start"),
        ("python {folder}/evaluate.py {{run}} {{out}} {{split}}", "python -c 1 {{out}}", "wrote no /"),
        ("metric: text.micro_f1", "metric: text.micro_f2", "no number at 'text.micro_f2'"),
        ("metric: text.micro_f1", "metric: text.accuracy", "no number at 'text.accuracy'"),
        ("on: sample/test", "on: sample/val", "1 mentions, candidates kb; 675 mentions expected"),
    ],
)
def test_failures_say_why(old: str, new: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = EXPERIMENT.replace(old, new).format(folder=folder, measured="null")
    (folder / "experiments" / "toy.yaml").write_text(text, encoding="utf-8")
    assert call(folder, "--experiment", "toy") == 1
    output = capsys.readouterr().out
    assert "failed        toy" in output
    assert words in output


def test_a_damaged_result_file_fails_with_the_remedy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(folder, "--experiment", "toy")
    [result] = folder.glob("out/toy/*/sample-test-*.json")
    result.write_text("{", encoding="utf-8")
    capsys.readouterr()
    assert call(folder, "--experiment", "toy") == 1
    assert "is no JSON" in (output := capsys.readouterr().out)
    assert "--rerun" in output
    assert call(folder, "--experiment", "toy", "--rerun") == 0


def test_missing_data_is_said_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMEL_DATA", raising=False)
    text = EXPERIMENT.format(folder=folder, measured="null") + "  - on: aida/testb\n    measured: null\n"
    (folder / "experiments" / "toy.yaml").write_text(text, encoding="utf-8")
    assert call(folder, "--experiment", "toy") == 0
    output = capsys.readouterr().out
    assert "needs DATA    toy                      aida/testb text.micro_f1" in output
    assert "--root aida=DIR" in output
    assert "1 not measured, 1 needs DATA" in output
    assert call(folder, "--experiment", "toy", "--root", str(folder)) == 0
    assert f"no aida in {folder}/aida" in capsys.readouterr().out
    assert calls(folder) == ["train 0", "evaluate 0 test"]


def test_training_data_missing_means_nothing_is_run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMEL_DATA", raising=False)
    text = EXPERIMENT.replace("{{seed}}", "{{seed}} {{movies}}").format(folder=folder, measured="null")
    (folder / "experiments" / "toy.yaml").write_text(text, encoding="utf-8")
    assert call(folder, "--experiment", "toy") == 0
    assert "needs DATA    toy" in capsys.readouterr().out
    assert calls(folder) == []
    assert call(folder, "--experiment", "toy", "--root", "movies=/no/such/folder") == 0
    assert "no folder /no/such/folder" in capsys.readouterr().out


def test_dry_run_prints_commands_and_runs_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folder, "--experiment", "toy", "--dry-run", "--seeds", "4") == 0
    train, evaluate = capsys.readouterr().out.splitlines()
    assert train.endswith("/run 4")
    assert "/sample-test-" in evaluate
    assert evaluate.endswith(".json test")
    assert calls(folder) == []
    call(folder, "--experiment", "toy", "--seeds", "4")
    capsys.readouterr()
    call(folder, "--experiment", "toy", "--dry-run", "--seeds", "4")
    assert [line[:16] for line in capsys.readouterr().out.splitlines()] == ["# there already:"] * 2


def test_only_missing_leaves_out_what_is_measured(folder: Path) -> None:
    write_experiment(folder, name="unmeasured")
    assert call(folder, "--all", "--only-missing") == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["unmeasured"]


def test_json_is_all_that_stdout_gets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folder, "--experiment", "toy", "--json") == 0
    captured = capsys.readouterr()
    [row] = json.loads(captured.out)
    assert (row["status"], row["mean"], row["seeds"]) == ("OK", 90.0, {"0": 90.0})
    assert "OK            toy" in captured.err
    assert call(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["toys"][2][:2] == ["toy | bar", "90.00 ± 0.00"]
    assert call(folder, "--list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tables"]["toys"]["experiments"] == ["toy"]


def test_without_a_choice_the_recorded_tables_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folder) == 0
    output = capsys.readouterr().out
    assert f"toys ({MENTIONS})" in output
    assert "88.0  A paper, table 1" in output
    assert calls(folder) == []
    assert call(folder, "--list") == 0
    assert "toy | bar (1 of 1 scores measured)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "hint"), [(["--experiment", "toi"], "Did you mean 'toy'"), (["--table", "toy"], "Did you mean 'toys'")]
)
def test_unknown_names_suggest(words: list[str], hint: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=hint):
        call(folder, *words)


# --- README, Markdown, recording ------------------------------------------------------------------------------------


def test_readme_update_is_idempotent_and_keeps_the_rest(folder: Path) -> None:
    readme = folder / "README.md"
    call(folder, "--update-readme", "--markdown", str(folder / "tables.md"))
    once = readme.read_text(encoding="utf-8")
    assert once.startswith("# Toy\n\n")
    assert once.endswith(f"\n{report.END}\n\nend\n")
    assert f"| System | toys ({MENTIONS}) | Source |\n|---|---:|---|\n| Others | 88.0 | A paper, table 1 |" in once
    assert "| toy \\| bar | 90.00 ± 0.00 | measured here |" in once
    assert (folder / "tables.md").read_text(encoding="utf-8").strip() in once
    assert not report.update_readme(readme, report.markdown(load(folder), ["toys"]))
    assert readme.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("text", ["no markers", f"{report.END} {report.BEGIN}"])
def test_readme_without_markers_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="add the two lines"):
        report.update_readme(tmp_path / "README.md", "x")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text


def test_record_writes_the_measurement_and_keeps_comments(folder: Path) -> None:
    path = write_experiment(folder)
    before = path.read_text(encoding="utf-8")
    assert call(folder, "--experiment", "toy", "--seeds", "0", "1", "2", "--record", "--update-readme") == 0
    measured = load(folder).experiments["toy"].scores[0].measured
    assert measured is not None
    assert (measured.mean, measured.std, measured.seeds) == (91.0, 1.0, (0, 1, 2))
    after = path.read_text(encoding="utf-8")
    assert "# kept when measured values are written" in after
    assert [line for line in after.splitlines() if "measured:" not in line] == [
        line for line in before.splitlines() if "measured:" not in line
    ]
    assert "91.00 ± 1.00" in (folder / "README.md").read_text(encoding="utf-8")
    assert call(folder, "--experiment", "toy", "--seeds", "0", "1", "2") == 0


def test_record_leaves_what_failed_alone(folder: Path) -> None:
    path = folder / "experiments" / "toy.yaml"
    before = path.read_text(encoding="utf-8")
    score = load(folder).experiments["toy"].scores[0]
    assert report.record(path, [Row("toy", score, FAILED, {0: 1.0})], "2025-02-01") == 0
    assert path.read_text(encoding="utf-8") == before
    assert report.record(path, [Row("toy", score, OFF, {0: 1.0})], "2025-02-01") == 1


def test_record_needs_a_line_for_each_score(folder: Path) -> None:
    path = folder / "experiments" / "toy.yaml"
    score = load(folder).experiments["toy"].scores[0]
    with pytest.raises(InputError, match="1 lines 'measured:' for 2 scores"):
        report.record(path, [Row("toy", score, NEW), Row("toy", score, NEW)], "2025-02-01")


# --- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "tolerance", "near"),
    [
        (90.0, 90.0, 0.0, True),
        (90.1, 90.0, 0.1, True),
        (89.9, 90.0, 0.1, True),
        (90.11, 90.0, 0.1, False),
        (0.1 + 0.2, 0.3, 0.0, True),
        (1e9, 1e9 + 1, 0.5, False),
    ],
)
def test_tolerance_is_absolute(value: float, expected: float, tolerance: float, near: bool) -> None:
    assert within(value, expected, tolerance) is near


def test_row_spread_is_the_sample_standard_deviation() -> None:
    score = Score(on="sample/test")
    assert Row("toy", score, NEW, {0: 1.0, 1: 3.0}).std == pytest.approx(2**0.5)
    assert Row("toy", score, NEW, {0: 1.0}).std == 0
    assert Row("toy", score, OK).mean is None
    one = Row("toy", score, NEW, {0: 90.126, 1: 90.126}).measured("2025-01-31")
    assert one == Measured(mean=90.13, std=0.0, seeds=(0, 1), date="2025-01-31")


def test_roots_come_from_the_environment_one_folder_or_by_name(tmp_path: Path) -> None:
    assert parse_roots([], {}) == {}
    everything = parse_roots([], {"MMEL_DATA": str(tmp_path)})
    folders = {name: tmp_path / name for name in spec.ROOTS if name != "uiuc"}
    assert everything == {"uiuc": tmp_path, **folders} and {"aida", "movies", "wikimel"} <= folders.keys()
    assert parse_roots(["aida=/x"], {"MMEL_DATA": str(tmp_path)}) == everything | {"aida": Path("/x")}
    assert parse_roots(["/y", "movies=/z"], {})["aida"] == Path("/y/aida")
    with pytest.raises(ConfigError, match="Did you mean 'movies'"):
        parse_roots(["movie=/x"], {})


def test_annotations_without_their_pictures_need_data(tmp_path: Path) -> None:
    region = {"image": "7.jpg", "boundingbox": "[1, 2, 3, 4]", "wikiid": "Q1"}
    (tmp_path / "WIKIPerson_Test.json").write_text(json.dumps([region]), encoding="utf-8")
    roots = {"wikiperson": tmp_path}
    assert spec.absent("wikiperson/test", roots) == ""
    assert spec.absent("wikiperson/test", roots, pictures=True) == f"no pictures of wikiperson test in {tmp_path}"
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "7.jpg").touch()
    assert spec.absent("wikiperson/test", roots, pictures=True) == ""
    (tmp_path / "WIKIPerson_Test.json").write_text("[]", encoding="utf-8")
    assert spec.absent("wikiperson/test", roots, pictures=True).startswith("no pictures")


def test_pictures_of_documents_without_visual_mentions_are_looked_for(tmp_path: Path) -> None:
    from mmel.document import Document, TextMention
    from mmel.formats.jsonl import write_documents

    (tmp_path / "kb.jsonl").write_text('{"id": "E1", "title": "Ada"}\n', encoding="utf-8")
    document = Document("d", "Ada", text_mentions=(TextMention(0, 3, "Ada", "E1"),), images=("a.jpg",))
    write_documents(tmp_path / "documents.test.jsonl", [document])
    roots = {"movies": tmp_path}
    assert spec.absent("movies/test", roots) == ""
    assert spec.absent("movies/test", roots, pictures=True) == f"no pictures of movies test in {tmp_path}"
    (tmp_path / "a.jpg").touch()
    assert spec.absent("movies/test", roots, pictures=True) == ""


PROTOCOLS = """
title: Toy
columns:
  - {title: official}
  - {title: toys, on: sample/test}
rows:
  - {title: Others, source: "A paper", published: {official: 61.21}, protocol: whole base}
  - {title: Others, source: "Another paper", published: {official: 42.4, toys: 3}, protocol: ten candidates}
  - {title: Third, source: "A paper", published: {official: 70}}
  - experiment: toy
"""


def test_protocols_needs_and_contradictions_stand_in_the_table(folder: Path) -> None:
    (folder / "tables" / "toys.yaml").write_text(PROTOCOLS, encoding="utf-8")
    path = folder / "experiments" / "toy.yaml"
    text = path.read_text(encoding="utf-8").replace("scores:", "needs: a toy box\nprotocol: our own\nscores:")
    path.write_text(text, encoding="utf-8")
    benchmarks = load(folder)
    assert benchmarks.tables["toys"].disputed() == {("Others", "official")}
    heading, first, second, third, ours = report.cells(benchmarks, "toys")
    assert heading[:2] == ["System", "official"] and heading[-2:] == ["Protocol", "Source"]
    assert first == ["Others", "61.2 †", "", "whole base", "A paper"]
    assert second == ["Others", "42.4 †", "3.0", "ten candidates", "Another paper"]
    assert third == ["Third", "70.0", "", "", "A paper"]
    assert ours == ["toy | bar", "", "90.00 ± 0.00", "our own", "measured here; needs a toy box"]
    for shown in (report.markdown(benchmarks, ["toys"]), report.text(benchmarks, "toys")):
        assert shown.endswith(report.DISPUTE)
    assert "|---|---:|---:|---|---|" in report.markdown(benchmarks, ["toys"])


def test_a_row_of_ours_brings_its_own_protocol(folder: Path) -> None:
    table = TABLE.replace("experiment: toy", "{experiment: toy, protocol: mine}")
    (folder / "tables" / "toys.yaml").write_text(table, encoding="utf-8")
    with pytest.raises(ConfigError, match="brings its own title, protocol and numbers"):
        load(folder)


def test_scores_of_pictures_cover_the_visual_mentions() -> None:
    test = read_card("movies").splits["test"]
    assert spec.mentions(("movies/test", "visual.recall_at.1")) == test.visual
    assert spec.mentions(("movies/test", "text.micro_f1")) == test.linked
    assert spec.mentions(("movies/test", "documents.count")) is None


def test_commands_keep_spaces_and_braces_of_values_whole() -> None:
    words = arguments('tool "a=[b, c]" --run {run}', {"run": "/my runs/{x}"})
    assert words == ["tool", "a=[b, c]", "--run", "/my runs/{x}"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title:", "titel:", "Did you mean 'title'"),
        ("{{run}} {{seed}}", "{{run}} {{sed}}", "unknown place {sed}. Did you mean 'seed'"),
        ("{{out}}", "file", "{out} is missing"),
        ("{{out}}", "{{out", "command '"),
        ("on: sample/test", "on: sampel/test", "no dataset 'sampel'. Did you mean 'sample'"),
        ("on: sample/test", "on: sample", "scores.0.on"),
        ("tolerance: 0.3", "tolerance: -1", "scores.0.tolerance=-1"),
        ("{{split}}", "{{root}}", "'sample/test' has no {root}"),
        ("measured: {measured}", "measured: {{mean: x}}", "scores.0.measured.mean"),
        ("tolerance: 0.3", "tolerance: 0.3\n  - on: sample/test", "stand twice"),
    ],
)
def test_bad_experiment_files_name_the_place(old: str, new: str, words: str, folder: Path) -> None:
    text = EXPERIMENT.replace(old, new)
    text = text.replace("{folder}", "x").replace("{measured}", "null").replace("{{", "{").replace("}}", "}")
    (folder / "experiments" / "toy.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert words in str(caught.value)
    assert "toy" in str(caught.value) or "command" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("experiment: toy", "experiment: toi", "Did you mean 'toy'"),
        ("{toys: 88}", "{toy: 88}", "no column 'toy'. Did you mean 'toys'"),
        ("on: sample/test", "on: sampel/test", "Did you mean 'sample'"),
        ("title: Others, ", "", "a row is an experiment, or has title, source and published"),
        ("experiment: toy", "experiment: toy\n    title: x", "brings its own title"),
    ],
)
def test_bad_tables_name_the_place(old: str, new: str, words: str, folder: Path) -> None:
    (folder / "tables" / "toys.yaml").write_text(TABLE.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert words in str(caught.value)
    assert "toys.yaml" in str(caught.value)
