"""The `mmel` command: `mmel train ...` is `python -m mmel.train ...`, and so for every command.

Nothing heavy is imported here, so that `mmel --help` answers at once. A command is a module with
`main(argv: list[str]) -> int`, which returns the exit code and raises MmelError for what a user can mend.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from mmel import __version__
from mmel.errors import ConfigError, MmelError, did_you_mean

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("mmel.train", "train a linker; without an argument on the bundled film world"),
    "score": ("mmel.score", "link the names and faces of your own texts and pictures"),
    "evaluate": ("mmel.evaluate", "score a trained linker on a dataset"),
    "serve": ("mmel.serve", "link texts and pictures over HTTP, with a page for people"),
    "kb": ("mmel.kb.__main__", "build a knowledge base, add to it, look into it"),
    "data": ("mmel.data", "list the datasets, check a folder that holds one"),
}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that shows an example, raises ConfigError and knows what was meant.

    `example` is one command line, or several lines of them, printed at the end of `--help`.
    """

    def __init__(self, *, example: str = "", **settings: Any) -> None:
        if example:
            lines = "\n".join(f"  {line.strip()}" for line in example.strip().splitlines())
            settings["epilog"] = f"example:\n{lines}"
            settings["formatter_class"] = argparse.RawDescriptionHelpFormatter
        settings.setdefault("allow_abbrev", False)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.rstrip('.')}. Remedy: {self.prog} --help")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As in argparse; an unknown option names the closest one."""
        values, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0]
            hint = did_you_mean(word.split("=")[0], set(_options(self))) if word.startswith("--") else ""
            raise ConfigError(f"{self.prog}: unknown argument '{word}'.{hint} Remedy: {self.prog} --help")
        return values

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.metavar if isinstance(action.metavar, str) else action.dest
            hint = did_you_mean(str(value), map(str, action.choices))
            raise ConfigError(f"{self.prog}: {name} is '{value}'.{hint}")


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The long options of a parser and of its commands."""
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _options(child)


def run(main: Callable[[list[str]], int]) -> None:
    """Call `main` with the process's arguments and exit with its code; every entry point ends here.

    An MmelError becomes one line on stderr and exit code 2, an interrupt exit code 130. A reader that closes the
    pipe early (`| head`) ends the command quietly with the code of SIGPIPE, 141.
    """
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except MmelError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def main(argv: list[str]) -> int:
    """Hand the arguments after the command's name to the command's own `main`."""
    commands = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    parser = Parser(
        prog="mmel",
        usage="mmel COMMAND ...",
        description=f"Link the names in texts and the faces in pictures to a knowledge base.\n\ncommands:\n{commands}",
        example="""
            mmel train
            mmel data list
            mmel COMMAND --help
        """,
    )
    parser.add_argument("--version", action="version", version=f"mmel {__version__}")
    # Only the first word is ours: an option after it belongs to the command.
    if not argv or argv[0].startswith("-"):
        parser.parse_args(argv)
        parser.print_help()
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        raise ConfigError(f"no command '{name}'.{did_you_mean(name, COMMANDS)}")
    command: Callable[[list[str]], int] = importlib.import_module(COMMANDS[name][0]).main
    return command(rest)


def entry() -> None:
    """The console script `mmel`."""
    run(main)
