"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real research data: `$MMEL_DATA`, else `../shared/data`; skips where neither exists."""
    named = os.environ.get("MMEL_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no research data: {'MMEL_DATA is ' + named if named else 'MMEL_DATA is not set'}, no folder there")
    return root
