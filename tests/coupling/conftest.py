"""The little knowledge bases that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.coupling.worlds import World, worlds


@pytest.fixture(scope="session")
def little(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    with worlds(tmp_path_factory.mktemp("little")) as found:
        yield found
