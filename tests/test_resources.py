from __future__ import annotations

from pathlib import Path

import pytest

from mmel import resources
from mmel.errors import InputError
from mmel.resources import resource


def test_a_checkout_has_its_resources_at_the_top() -> None:
    cards = resource("data", "cards")
    assert cards.is_dir()
    assert cards.parents[1] == Path(__file__).resolve().parents[1]


def test_a_wheel_has_them_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "mmel"
    inside = package / "_resources" / "data" / "cards"
    inside.mkdir(parents=True)
    # A folder of the same name that some other package brought.
    (tmp_path / "site-packages" / "data" / "cards").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resource("data", "cards") == inside


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="'data/none.yaml' does not come with this installation"):
        resource("data", "none.yaml")
