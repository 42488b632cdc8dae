"""The generated knowledge bases have the size that is asked for, and can be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kb_speed import generated_entities, measure_build, measure_lookup, name_of


@pytest.mark.parametrize("surfaces", [2, 500, 5_003])
def test_surfaces_are_as_many_as_asked(surfaces: int) -> None:
    entities = list(generated_entities(surfaces))
    assert len({alias.name for entity in entities for alias in entity.aliases}) == surfaces
    assert len({entity.id for entity in entities}) == len(entities)
    assert entities == list(generated_entities(surfaces))


def test_names_are_distinct() -> None:
    assert len({name_of(number) for number in range(20_000)}) == 20_000


def test_measured(tmp_path: Path) -> None:
    built = measure_build(tmp_path / "kb", 2_000, None)
    assert built["surfaces"] == 2_000
    assert built["peak_mb"] > 0
    looked = measure_lookup(tmp_path / "kb", mentions=5)
    assert looked["matches_per_document"] >= 5
    assert {"cold_ms", "warm_ms", "fuzzy_ms"} <= looked.keys()
