from __future__ import annotations

from pathlib import Path

import pytest

from mmel.datasets import card as card_module
from mmel.datasets import dataset_class, dataset_names
from mmel.datasets.card import read_card
from mmel.errors import ConfigError, InputError
from mmel.resources import resource


@pytest.mark.parametrize("name", dataset_names())
def test_every_dataset_has_a_whole_card(name: str) -> None:
    card = read_card(name)
    assert card.splits
    # Of a split that is not published nothing at all is known.
    assert all(counts.documents or not counts.model_fields_set for counts in card.splits.values())
    for text in (card.title, card.task, card.citation, card.licence, card.get):
        assert text.strip()
    assert bool(card.layout) == dataset_class(name).needs_root
    assert all(len(value) == 64 and int(value, 16) for value in card.checksums.values())
    for counts in card.splits.values():
        if counts.linked is not None and counts.mentions is not None:
            assert counts.linked + (counts.nil or 0) <= counts.mentions


def test_every_card_has_a_dataset() -> None:
    assert sorted(path.stem for path in resource("data", "cards").iterdir()) == dataset_names()


GOOD = "name: x\ntitle: t\ntask: t\ncitation: c\nlicence: l\nget: g\n"


def read(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> card_module.Card:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(card_module, "resource", lambda *parts: path)
    return read_card("x")


def test_a_small_card_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = read(GOOD + "splits:\n  test: {documents: 3, prior_accuracy: 0.5}\n", tmp_path, monkeypatch)
    assert card.splits["test"].documents == 3
    assert card.splits["test"].mentions is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("licence", "license"), "unknown key 'license'. Did you mean 'licence'"),
        (GOOD.replace("name: x", "name: y"), "must be the name of the file, 'x'"),
        (GOOD.replace("get: g\n", ""), "get"),
        (GOOD + "splits:\n  test: {document: 3}\n", "document"),
        (GOOD + "splits:\n  test: {documents: 3.5}\n", "documents"),
        (GOOD + "splits:\n  test: {prior_accuracy: 1.5}\n", "prior_accuracy"),
        (GOOD + "entities: [\n", "is not YAML"),
        ("- a\n", "a mapping"),
    ],
)
def test_a_bad_card_is_an_error(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=f"x.yaml.*{message}"):
        read(text, tmp_path, monkeypatch)


def test_no_card() -> None:
    with pytest.raises(InputError, match="cards/none.yaml"):
        read_card("none")
