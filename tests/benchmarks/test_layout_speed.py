"""The generated layouts have the size that is asked for and are read without a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.layout_speed import ENTITIES, LAYOUTS, M3EL, MENTIONS, measure


@pytest.mark.parametrize(
    ("layout", "documents", "entities"),
    [("m3el-mtmt", sum(M3EL.values()), None), ("mimic", sum(MENTIONS.values()), ENTITIES)],
)
def test_measured(tmp_path: Path, layout: str, documents: int, entities: int | None) -> None:
    dataset, write = LAYOUTS[layout]
    write(tmp_path, 0.002)
    row = measure(dataset, tmp_path)
    assert row["documents"] == pytest.approx(0.002 * documents, abs=3)
    assert row["entities"] == pytest.approx(0.002 * (entities or 2.9 * documents), rel=0.02)
    assert row["skipped"] == 0
    assert row["peak_mb"] > 0
