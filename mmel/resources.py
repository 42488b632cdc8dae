"""Where the files that are read at run time lie: at the top of a checkout, inside the package of a wheel."""

from __future__ import annotations

from pathlib import Path

from mmel.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """Path of a file or folder below `data/` or `kb/`, for example `resource("data", "cards")`.

    Raises InputError where the installation is incomplete.
    """
    # The checkout first: an old build may have left a copy beside the sources.
    for base in (_PACKAGE.parent, _PACKAGE / "_resources"):
        path = base.joinpath(*parts)
        # A folder `data` beside site-packages' `mmel` would not be ours.
        if path.exists() and (base != _PACKAGE.parent or (base / "pyproject.toml").is_file()):
            return path
    raise InputError(f"'{'/'.join(parts)}' does not come with this installation", remedy="install mmel again")
