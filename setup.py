"""The part of the packaging that must be code: folders outside `mmel/` that are read at run time.

`data/` (dataset cards) and `kb/` (recipes) stand at the top of a checkout, where people look for them. In a wheel
they lie in `mmel/_resources/`; `mmel.resources` finds them in both.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
RESOURCES = {f"mmel._resources.{name}": name for name in ("data", "kb") if (HERE / name).is_dir()}

setup(
    packages=[*find_packages(include=["mmel", "mmel.*"]), *RESOURCES],
    package_dir=RESOURCES,
    package_data={
        "mmel": ["py.typed", "**/*.yaml", "**/*.html", "**/*.css", "**/*.js"],
        **{package: ["**/*"] for package in RESOURCES},
    },
)
