"""ONNX models opened for a processor, with one error for what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmel.errors import InputError, MissingDependencyError


def open_model(file: Path, threads: int, remedy: str) -> Any:
    """The `onnxruntime.InferenceSession` of a file, `threads` a call; calls from several threads are safe.

    Raises:
        MissingDependencyError without onnxruntime; InputError with `remedy` for a file that is no ONNX model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "face") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes all derive from Exception alone
        what = f"is no ONNX model that can be opened ({str(error).splitlines()[0]})"
        raise InputError(what, file=file, field="weights", remedy=remedy) from error
