from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from mmel import __version__
from mmel.cli import COMMANDS, Parser, main, run
from mmel.errors import ConfigError, InputError

HEAVY = {"torch", "gensim", "sklearn", "scipy", "transformers", "sentence_transformers", "networkx", "torch_geometric"}
LIST_MODULES = """
import sys
from mmel.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["data", "list"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
)
def test_answers_without_heavy_imports(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIST_MODULES, *arguments], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stderr.split())
    assert done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"example:.*mmel[ .]{name}\b", text, re.DOTALL)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "mmel", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mmel {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["--versoin"], "Did you mean '--version'?"),
        (["data", "lits"], "Did you mean 'list'?"),
        (["data", "check", "aida", "--rot", "x"], "Did you mean '--root'?"),
        (["data", "check", "adia"], "Did you mean 'aida'?"),
        (["data", "list", "adia"], "Did you mean 'aida'?"),
        (["data", "list", "aida", "more"], "unknown argument 'more'"),
        (["data"], "required"),
        (["data", "check"], "NAME"),
    ],
)
def test_wrong_words_say_what_was_meant(arguments: list[str], hint: str) -> None:
    with pytest.raises(ConfigError, match="(?s).*" + hint.replace("?", r"\?")):
        main(arguments)


def test_options_are_not_guessed_from_their_beginning() -> None:
    parser = Parser(prog="mmel test")
    parser.add_argument("--dataset")
    with pytest.raises(ConfigError, match="Did you mean '--dataset'"):
        parser.parse_args(["--data", "x"])


def test_a_choice_names_the_allowed_ones() -> None:
    parser = Parser(prog="mmel test")
    parser.add_argument("--device", choices=["cpu", "cuda"])
    with pytest.raises(ConfigError, match="device is 'cdua'. Did you mean 'cuda'"):
        parser.parse_args(["--device", "cdua"])
    assert parser.parse_args(["--device", "cpu"]).device == "cpu"


def ended_with(main: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["mmel", "word"])
    with pytest.raises(SystemExit) as ended:
        run(main)
    return ended.value.code


def test_run_passes_arguments_and_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def command(argv: list[str]) -> int:
        seen.append(argv)
        return 3

    assert ended_with(command, monkeypatch) == 3
    assert seen == [["word"]]


def test_run_prints_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def command(argv: list[str]) -> int:
        raise InputError("first\n  second", file="a.jsonl", line=7, field="text", remedy="mend it")

    assert ended_with(command, monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.err == "error: a.jsonl:7: field 'text': first second. Remedy: mend it\n"
    assert printed.out == ""


def test_run_leaves_a_bug_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(argv: list[str]) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr(sys, "argv", ["mmel"])
    with pytest.raises(ValueError, match="a bug"):
        run(command)


def test_run_ends_quietly_when_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def command(argv: list[str]) -> int:
        raise KeyboardInterrupt

    assert ended_with(command, monkeypatch) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_closed_pipe_is_no_error() -> None:
    code = "from mmel.cli import run\nrun(lambda argv: [print('x' * 1000) for _ in range(100000)] and 0)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141
