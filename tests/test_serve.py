"""The command: what it refuses before it serves."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from mmel.errors import ConfigError, InputError, MissingDependencyError
from mmel.serve import listen, main


def test_an_address_in_use_and_one_that_is_not_ours() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: cannot be listened at .*Remedy"):
            listen("127.0.0.1", port)
    for host, port in (("192.0.2.1", 0), ("127.0.0.1", 70_000), ("127.0.0.1", -1), ("no.such.host.invalid", 0)):
        with pytest.raises(ConfigError, match="cannot be listened at"):
            listen(host, port)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Remedy"):
        main(["--model", str(tmp_path), "--port", "0"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-pictures", "0"], "limit pictures = 0: must be at least 1"),
        (["--max-pictures", "x"], "--max-pictures"),
        (["--max-picture", "3"], "Did you mean '--max-pictures'?"),
    ],
)
def test_options_out_of_range(options: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        main(["--model", "x", *options])


def test_what_is_not_installed_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("uvicorn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr("mmel.serve.importlib.import_module", lambda name: without(name))
    with pytest.raises(MissingDependencyError, match=r"'uvicorn' is needed here .* pip install 'mmel\[serve\]'"):
        main(["--model", "x"])
