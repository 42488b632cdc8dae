"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real research data: `$MMEL_DATA`, else `../shared/data`; skips where it does not exist."""
    root = Path(os.environ.get("MMEL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no research data at {root}: set MMEL_DATA to the folder that holds it")
    return root
