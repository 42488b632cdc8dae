from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mmel.errors import InputError, MissingDependencyError
from mmel.onnx import open_model
from tests.encoders.images.models import write_corner_model


def test_a_model_is_opened_and_runs(tmp_path: Path) -> None:
    session = open_model(write_corner_model(tmp_path / "corner.onnx", side=1), 1, "none")
    pixels = np.ones((2, 3, 112, 112), np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": pixels})[0], np.ones((2, 3)))


def test_what_is_no_model_names_the_file_and_the_callers_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("words")
    with pytest.raises(InputError, match=r"text\.onnx: field 'weights': is no ONNX model .*Remedy: look again"):
        open_model(tmp_path / "text.onnx", 1, "look again")


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"'onnxruntime' is needed here.*mmel\[face\]"):
        open_model(tmp_path / "any.onnx", 1, "")
