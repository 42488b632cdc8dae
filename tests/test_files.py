"""Files that are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmel.errors import InputError
from mmel.files import read_json, write_json


def test_json_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": [1, None]})
    assert read_json(path, "x") == {"é": [1, None]}
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, float("nan"))
    assert read_json(path, "x") == {"é": [1, None]}
    path.write_text('{"a"')
    with pytest.raises(InputError, match=r"a.json: is not JSON \(.*\). Remedy: mend it"):
        read_json(path, "mend it")
    with pytest.raises(InputError, match=r"b.json: is missing. Remedy: make it"):
        read_json(tmp_path / "b.json", "make it")
