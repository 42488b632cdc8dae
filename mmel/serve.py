"""`python -m mmel.serve --model RUN`: link texts and pictures over HTTP."""

from __future__ import annotations

import importlib
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from mmel.cli import Parser, run
from mmel.errors import ConfigError, MissingDependencyError
from mmel.service.limits import MIB, Limits

EXAMPLE = """
python -m mmel.serve --model runs/movies-0
python -m mmel.serve --model runs/movies-0 --host 0.0.0.0 --port 8080 --max-pictures 4 --timeout 20
curl -F text=@review.txt -F pictures=@still.jpg http://127.0.0.1:8000/link
"""
_DEFAULT = Limits()
_PACKAGES = ("fastapi", "uvicorn", "python_multipart")


def main(argv: list[str]) -> int:
    """Serve until the process is interrupted; returns the exit code."""
    values = _parser().parse_args(argv)
    names = {field.name for field in fields(Limits)}
    limits = Limits(**{name: value for name, value in vars(values).items() if name in names})
    _check_installed()
    with listen(values.host, values.port) as listening:
        import uvicorn

        from mmel.service.app import make_app
        from mmel.service.linking import open_engine

        # What is wrong with a form is said to who sent it, a line a byte is of no use here.
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        engine = open_engine(values.model, values.kb, values.kb_pictures, _tell)
        config = uvicorn.Config(make_app(engine, limits), log_level="warning", timeout_graceful_shutdown=limits.seconds)
        _tell(f"{values.model} answers at {_address(listening)}")
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _check_installed() -> None:
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingDependencyError(name.replace("_", "-"), "serve") from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _tell(words: str) -> None:
    print(words, file=sys.stderr)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at a name or address and a port (0: any free one); ConfigError where it cannot."""
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be listened at ({error}). "
            "Remedy: name an address of this machine and a free port"
        ) from error


def _times(unit: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        return int(text) * unit

    return number


def _parser() -> Parser:
    parser = Parser(
        prog="python -m mmel.serve", description="Link texts and pictures over HTTP, with a page at /.", example=EXAMPLE
    )
    parser.add_argument("--model", required=True, type=Path, metavar="RUN", help="run folder of python -m mmel.train")
    parser.add_argument("--kb", type=Path, metavar="KB", help="another copy of the model's knowledge base")
    parser.add_argument(
        "--kb-pictures", type=Path, metavar="DIR", help="folder of the entities' pictures; else that of the training"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 is all of this machine")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    for option, name, unit, what in (
        ("--max-characters", "characters", 1, "characters of a text"),
        ("--max-pictures", "pictures", 1, "pictures of a request"),
        ("--max-picture-mib", "picture_bytes", MIB, "MiB of a picture"),
        ("--max-request-mib", "request_bytes", MIB, "MiB of a request"),
        ("--max-pixels", "pixels", 1, "pixels of a picture"),
        ("--timeout", "seconds", 1, "seconds for reading a request, and for answering it"),
        ("--queue", "queue", 1, "requests that are answered or wait at a time"),
        ("--batch", "batch", 1, "documents linked together"),
    ):
        default = getattr(_DEFAULT, name)
        parser.add_argument(
            option, dest=name, type=_times(unit), default=default, metavar="N",
            help=f"{what} at most; {default // unit} unless given",
        )  # fmt: skip
    return parser


if __name__ == "__main__":
    run(main)
