"""The curves over film worlds: counts, points and charts by hand, and the command without training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import film_world_curves
from benchmarks.curve_page import chart, curve_page
from benchmarks.film_world_curves import KNOBS, QUICK, World, below, count, main, measure, point, table, training
from mmel.datasets import open_dataset
from mmel.datasets.filmworld import Difficulty, Pictures
from mmel.document import NIL, Document, Link, LinkedDocument, TextMention, VisualMention
from mmel.errors import InputError


def document(id: str = "d") -> Document:
    return Document(
        id, "Ida, Bea.", "", (TextMention(0, 3, "Ida", "C1"), TextMention(5, 8, "Bea", "C2")),
        (VisualMention("1.jpg", None, "P1"), VisualMention("2.jpg", None, NIL)),
    )  # fmt: skip


def linked(text: str, visual: str, alone: LinkedDocument | None = None) -> LinkedDocument:
    """Links of a document from entities with spaces between."""
    names, faces = (tuple(Link(entity, 1.0) for entity in side.split()) for side in (text, visual))
    return LinkedDocument(document(), names, faces, alone=alone)


def test_documents_are_counted_as_linked_and_alone() -> None:
    coupled = linked("C1 C2", "P1 P9", alone=linked("C1 C9", "P9 P9"))
    counts = count([coupled, linked("C9 C2", "P1 P9")])
    assert counts == {
        "coupled": 1,
        "naive": {"text": [[2, 2, 1], [2, 2, 1]], "visual": [[1, 1, 0], [1, 1, 1]]},
        "joint": {"text": [[2, 2, 2], [2, 2, 1]], "visual": [[1, 1, 1], [1, 1, 1]]},
    }
    assert json.loads(json.dumps(counts)) == counts


def counted(naive: list[int], joint: list[int], mentions: int = 4) -> dict[str, Any]:
    """Counts of documents with as many right text mentions, every one answered; nothing was visual."""

    def rows(right: list[int]) -> list[list[int]]:
        return [[mentions, mentions, one] for one in right]

    return {"coupled": 1, "naive": {"text": rows(naive)}, "joint": {"text": rows(joint)}}


def test_a_point_pools_the_documents_of_all_seeds() -> None:
    found = point(World(0.5, Difficulty()), [counted([2, 2], [3, 3]), counted([1, 1], [2, 2])])
    assert (found["setting"], found["coupled"], "visual" in found) == (0.5, 2, False)
    text = found["text"]
    assert text["mentions"] == 16
    assert text["seeds"] == [[0.5, 0.75], [0.25, 0.5]]
    assert (text["naive"]["value"], text["joint"]["value"]) == (0.375, 0.625)
    # One more is right in every document, so every resample has the same difference.
    assert text["difference"] == pytest.approx({"value": 0.25, "low": 0.25, "high": 0.25})
    assert 0.25 <= text["naive"]["low"] < 0.375 < text["naive"]["high"] <= 0.5


def test_only_what_is_surely_worse_is_below() -> None:
    worlds = [World(x, Difficulty()) for x in (0.0, 0.5, 1.0)]
    curves = {
        "alone": [
            point(worlds[0], [counted([3, 3, 3], [2, 2, 2])]),
            point(worlds[1], [counted([3, 3, 3], [4, 3, 1])]),
            point(worlds[2], [counted([3, 3, 3], [3, 3, 3])]),
        ]
    }
    assert below(curves) == ["alone=0 text"]
    lines = table(curves).splitlines()
    assert len(lines) == 4
    assert "-25.00 [-25.00, -25.00]" in lines[1]


def at(setting: float, naive: float, joint: float) -> dict[str, Any]:
    def score(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.02, "high": min(1.0, value + 0.02)}

    return {"setting": setting, "text": {"naive": score(naive), "joint": score(joint), "difference": score(0.1)}}


@pytest.mark.parametrize(
    "points",
    [
        [at(0, 0.5, 0.6), at(0.25, 0.4, 0.6), at(1, 0.2, 0.6)],
        [at(1, 0.99, 1.0), at(8, 0.99, 0.99)],
        [at(0, 0.02, 0.02), at(1, 0.02, 0.02)],
        [at(3, 0.5, 0.5)],
    ],
)
def test_a_chart_holds_every_curve_and_band(points: list[dict[str, Any]]) -> None:
    svg = chart("a < b", "text", points)
    assert "a &lt; b" in svg
    levels = [float(y) for y in re.findall(r'<line [^>]*y1="([^"]+)"', svg)]
    drawn = re.findall(r'<poly(?:line|gon) points="([^"]+)"', svg)
    places = [tuple(map(float, pair.split(","))) for one in drawn for pair in one.split()]
    assert len(drawn) == 4
    assert len(places) == 2 * 3 * len(points)
    assert min(levels) <= min(y for _, y in places) <= max(y for _, y in places) <= max(levels)
    assert all(48 <= x <= 388 for x, _ in places)
    shares = [int(share) for share in re.findall(r">(\d+)%<", svg)]
    assert len(shares) == 5 and 0 <= shares[0] < shares[-1] <= 100 and all(share % 5 == 0 for share in shares)
    names = {name: float(y) for y, name in re.findall(r'<text [^>]*y="([^"]+)"[^>]*>(naive|joint)<', svg)}
    assert abs(names["naive"] - names["joint"]) >= 13.9


def test_the_better_system_is_above() -> None:
    svg = chart("k", "text", [at(0, 0.5, 0.6), at(1, 0.4, 0.6)])
    groups = dict(re.findall(r'<g class="(\w+)">.*?<polyline points="([^"]+)"', svg))
    naive, joint = ([float(pair.split(",")[1]) for pair in groups[name].split()] for name in ("naive", "joint"))
    assert all(one > two for one, two in zip(naive, joint, strict=True))
    assert naive[0] < naive[1] and joint[0] == joint[1]


def test_a_page_fetches_nothing_and_leaves_out_what_is_not_there() -> None:
    page = curve_page({"face noise": [at(0, 0.5, 0.6), at(1, 0.4, 0.6)]}, ["a <note>"])
    assert page.count("<svg") == 1
    assert "a &lt;note&gt;" in page
    assert not re.search(r"(src|href)=|https?://", page)


def test_every_knob_passes_through_the_sample() -> None:
    for name, knob in KNOBS.items():
        settings = [world.setting for world in knob.worlds]
        assert settings == sorted(set(settings)) and len(settings) > 1
        if name != "useless":
            assert [getattr(world.difficulty, name) for world in knob.worlds] == settings
            assert any(world.difficulty == Difficulty() for world in knob.worlds)
            assert {world.pictures for world in knob.worlds} == {Pictures()}


def test_settings_stay_in_the_folder_and_beside_it(tmp_path: Path) -> None:
    config = training(tmp_path / "a b", 3, QUICK, ["train.epochs=2"])
    assert config.run_folder == tmp_path / "a b" / "run"
    assert (config.kb, config.encoder.cache) == (tmp_path / "a b" / "kb", tmp_path / "encodings")
    assert (config.seed, config.train.epochs, config.vision.patch_train.steps) == (3, 2, 2)
    assert config.modalities == ("text", "visual")


def test_a_measured_world_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StandIn:
        """Links the test split to its gold."""

        kb = type("Base", (), {"close": lambda self: None})()

        @classmethod
        def from_pretrained(cls, path: Path) -> StandIn:
            assert path == tmp_path / "run"
            return cls()

        def link(self, documents: Any, pictures: Path, nil: bool) -> Any:
            assert not nil  # best candidates are counted
            for one in documents:
                assert all((pictures / mention.image).is_file() for mention in one.visual_mentions)
                text, visual = ([Link(m.entity, 1.0) for m in ms] for ms in (one.text_mentions, one.visual_mentions))
                yield LinkedDocument(one, tuple(text), tuple(visual))

    trained: list[Any] = []
    monkeypatch.setattr(film_world_curves, "train_linker", lambda config, **_: trained.append(config))
    monkeypatch.setattr(film_world_curves, "Linker", StandIn)
    world = World(1, Difficulty(unrelated=1), Pictures(most=0))
    counts = measure(tmp_path, world, 0, QUICK, [])
    documents = list(open_dataset("movies", tmp_path / "films").documents("test"))
    assert len(counts["joint"]["text"]) == len(documents) == QUICK.documents["test"]
    assert counts["naive"] == counts["joint"] and counts["coupled"] == 0
    assert all(gold == right for gold, _, right in counts["joint"]["text"])
    assert measure(tmp_path, world, 0, QUICK, []) == counts
    assert len(trained) == 1


def test_the_command_writes_what_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders: list[str] = []

    def stand_in(folder: Path, world: World, seed: int, *_: Any) -> dict[str, Any]:
        folders.append(folder.name)
        return counted([3, 3], [3 - (world.setting == 8), 3 - (world.setting == 8)])

    monkeypatch.setattr(film_world_curves, "measure", stand_in)
    assert main(["--out", str(tmp_path), "--knobs", "alone", "unrelated", "--seeds", "4", "5"]) == 1
    # The sample's own difficulty is in both sweeps and made once a seed.
    assert (len(folders), len(set(folders))) == (12, 10)
    record = json.loads((tmp_path / "curves.json").read_text())
    assert record["significantly_below"] == ["unrelated=8 text"]
    assert [at["setting"] for at in record["curves"]["alone"]] == [0, 0.5, 1]
    assert (tmp_path / "curves.html").read_text().count("<svg") == 2
    assert "joint significantly below naive: unrelated=8 text" in capsys.readouterr().out
    assert main(["--out", str(tmp_path), "--knobs", "alone", "--quick"]) == 0
    assert len(folders) == 14


def test_a_knob_that_is_not_there_and_a_linker_that_does_not_couple(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no knob 'alon'. Did you mean 'alone'"):
        main(["--knobs", "alon"])
    monkeypatch.setattr(film_world_curves, "measure", lambda *_: counted([1], [1]) | {"coupled": 0})
    with pytest.raises(InputError, match="no document was coupled in any world"):
        main(["--out", str(tmp_path), "--quick"])
    assert not list(tmp_path.iterdir())
