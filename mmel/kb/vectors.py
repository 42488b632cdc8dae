"""Vectors of the entities: `vectors/NAME.npy`, memory-mapped, and `NAME.json`, what made them and for which state."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from mmel.errors import InputError, did_you_mean
from mmel.files import atomic_write
from mmel.kb.layout import VECTORS, KbMeta


def names(data: Path) -> list[str]:
    """The names of the vectors in a data folder, sorted."""
    return sorted(path.stem for path in (data / VECTORS).glob("*.json"))


def read(data: Path, name: str, meta: KbMeta, stale: bool = False) -> np.ndarray:
    """The vectors `name` `[n, d]`, memory-mapped; see `KnowledgeBase.vectors`."""
    known = names(data)
    remedy = "make them with KnowledgeBase.add_vectors"
    if name not in known:
        hint = did_you_mean(name, known) if known else " There are none."
        raise InputError(f"no vectors '{name}' in '{meta.name}'.{hint}", file=data, remedy=remedy)
    path = data / VECTORS / f"{name}.npy"
    made = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if made["content_hash"] != meta.content_hash and not stale:
        raise InputError(
            f"the vectors '{name}' were made for {made['rows']:,} entities (revision {made['revision']}), and the base "
            f"has changed since ({meta.entities:,} entities, revision {meta.revision})",
            file=path,
            remedy=f"encode the entities again and {remedy}",
        )
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"the vectors cannot be read ({error})", file=path, remedy=remedy) from error
    return array


def write(data: Path, name: str, array: np.ndarray, encoder_id: str, meta: KbMeta) -> None:
    """Write vectors and what made them; see `KnowledgeBase.add_vectors`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"'{name}' cannot name vectors", field="name", remedy="use letters, digits, '-', '_' and '.'")
    if array.ndim != 2 or len(array) != meta.entities or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"vectors '{name}' are {array.dtype} {list(array.shape)}",
            remedy=f"give floats [{meta.entities}, d], one row for each entity of '{meta.name}'",
        )
    path = data / VECTORS / f"{name}.npy"
    # Without its description an array does not exist: a writer that is killed leaves no vectors of unknown origin.
    path.with_suffix(".json").unlink(missing_ok=True)
    with atomic_write(path, "wb") as stream:
        np.save(stream, array)
    description = {
        "encoder_id": encoder_id,
        "rows": len(array),
        "dimension": array.shape[1],
        "dtype": str(array.dtype),
        "content_hash": meta.content_hash,
        "revision": meta.revision,
    }
    with atomic_write(path.with_suffix(".json")) as stream:
        json.dump(description, stream, indent=1)
