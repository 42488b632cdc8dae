"""Documents a second of a trained linker, from documents in memory to linked documents, and where the time goes.

python -m benchmarks.linking_speed --model RUN --dataset aida --root DIR --split testa [--no-cache] [--limit N] [--json]

`first` is a linker that has just been opened, with the encodings of all texts on disk; `again` is the same documents
once more. With --no-cache the encoder's weights are loaded and its cache is an empty folder: every document and every
entity text is encoded. The stages are seconds of the first (or the uncached) pass, each without those inside it.
Documents a second mean little where other programs use the cores; seconds of CPU are less disturbed.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmel.errors import ConfigError

if TYPE_CHECKING:
    from mmel.document import Document
    from mmel.linker import Linker
    from mmel.text.linker import TextLinker


class Clock:
    """Wall-clock seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the seconds since the last lap under a name."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def measure(linker: Linker, documents: Sequence[Document]) -> dict[str, Any]:
    """Link all documents once: documents a second, seconds, and seconds of each stage."""
    stages: dict[str, float] = {}
    gc.collect()  # else the garbage of what came before is collected within
    with timed_stages(stages):
        cpu, start = time.process_time(), time.perf_counter()
        count = sum(1 for _ in linker.link(documents))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "documents_per_second": count / seconds,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "stages": stages | {"rest": seconds - sum(stages.values())},
    }


@contextmanager
def timed_stages(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the seconds that the stages of linking take while the context is open."""
    from mmel import linker
    from mmel.candidates import CandidateGenerator, MentionTable
    from mmel.encoders.text import TransformerEncoder
    from mmel.text import features, prepare

    stages: list[tuple[Any, str, str]] = [
        (MentionTable, "of", "mentions"),
        (CandidateGenerator, "__call__", "candidates"),
        (prepare, "encode_context", "context"),
        (prepare.TextPreparer, "_select", "selection"),
        (prepare.CandidateGraph, "of", "graph"),
        *((features.SCORERS, name, f"features: {name}") for name in features.SCORERS),
        (linker, "predict", "model"),
        (linker, "_links", "links"),
        (TransformerEncoder, "encode", "encoder: entity texts"),
        (TransformerEncoder, "encode_tokens", "encoder: documents"),
    ]
    running: list[float] = []
    with ExitStack() as stack:
        for owner, name, stage in stages:
            stack.enter_context(_replaced(owner, name, partial(_timed, stage=stage, seconds=seconds, running=running)))
        yield


def _timed(
    function: Callable[..., Any], stage: str, seconds: dict[str, float], running: list[float]
) -> Callable[..., Any]:
    """`function`, adding its seconds without those of the stages inside it to `seconds[stage]`.

    `running` holds, for each stage that has begun, the seconds of those inside it.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        running.append(0.0)
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            whole = time.perf_counter() - start
            seconds[stage] = seconds.get(stage, 0.0) + whole - running.pop()
            if running:
                running[-1] += whole

    return call


@contextmanager
def _replaced(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """`owner.name`, or `owner[name]` of a mapping, is changed while the context is open."""
    place = owner if isinstance(owner, dict) else None
    kept = vars(owner)[name] if place is None else place[name]
    bound = isinstance(kept, classmethod)
    changed = change(getattr(owner, name)) if bound else change(kept)
    if place is not None:
        place[name] = changed
    else:
        setattr(owner, name, staticmethod(changed) if bound else changed)
    try:
        yield
    finally:
        if place is not None:
            place[name] = kept
        else:
            setattr(owner, name, kept)


def opened_again(linker: Linker, cache: Path | None = None) -> Linker:
    """The linker as if just opened, with nothing remembered; `cache` is another folder of encodings."""
    from mmel.linker import Linker
    from mmel.text import surface
    from mmel.text.linker import TextLinker, make_preparer

    for function in (surface.pair_features, surface._title, surface._mention):
        function.cache_clear()
    old = text_of(linker)
    config = old.config if cache is None else old.config.with_overrides([f"encoder.cache={cache}"])
    pictured = old.preparer.retrieval.pictured if old.preparer.retrieval else ()
    preparer = make_preparer(config, linker.kb, old.preparer.annotations, pictured=pictured)
    return Linker(linker.kb, TextLinker(config, preparer, old.model, old.device))


def text_of(linker: Linker) -> TextLinker:
    """The textual side, which is what is measured."""
    if linker.text is None:
        raise ConfigError("the model was not trained on texts. Remedy: name a run with modalities=text")
    return linker.text


def peak_megabytes() -> float:
    """Most resident memory that this process had; the system counts in KiB, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one invocation."""
    clock = Clock()
    import torch

    from mmel.datasets import open_dataset
    from mmel.datasets.knowledge import dataset_kb
    from mmel.linker import Linker

    clock.lap("imports")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dataset = open_dataset(arguments.dataset, arguments.root)
    documents = list(dataset.documents(arguments.split))[: arguments.limit]
    clock.lap("documents")
    kb = dataset_kb(dataset)
    clock.lap("knowledge base")
    linker = Linker.from_pretrained(arguments.model, kb, check_kb=dataset.candidate_protocol == "kb")
    clock.lap("linker")
    result: dict[str, Any] = {
        "documents": len(documents),
        "mentions": sum(len(document.text_mentions) for document in documents),
        "threads": torch.get_num_threads(),
        "start_seconds": clock.laps,
    }
    if arguments.no_cache:
        with tempfile.TemporaryDirectory() as folder:
            linker = opened_again(linker, Path(folder))
            # The first call of an encoder also chooses kernels.
            text_of(linker).preparer.encoder.encoder.encode(["one", "two"])
            result["uncached"] = measure(linker, documents)
    else:
        measure(linker, documents)  # encodes what no run before has encoded
        linker = opened_again(linker)
        result["first"] = measure(linker, documents)
        result["again"] = measure(linker, documents)
    return result | {"peak_mb": peak_megabytes()}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    start = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result["start_seconds"].items())
    lines = [
        f"{result['documents']:,} documents, {result['mentions']:,} mentions; {result['threads']} threads; "
        f"peak memory {result['peak_mb']:,.0f} MB",
        f"start: {sum(result['start_seconds'].values()):.1f} s ({start})",
    ]
    passes = {name: result[name] for name in ("first", "again", "uncached") if name in result}
    for name, row in passes.items():
        lines.append(
            f"{name:<10}{row['documents_per_second']:10.1f} documents/s"
            f"{row['seconds']:10.2f} s{row['cpu_seconds']:10.2f} s of CPU"
        )
    stages = next(iter(passes.values()))["stages"]
    lines += [f"  {name:<24}{seconds:8.3f} s" for name, seconds in sorted(stages.items(), key=lambda item: -item[1])]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, metavar="RUN", help="run folder of python -m mmel.train")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="a name of python -m mmel.data list")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the dataset; none for the sample")
    parser.add_argument("--split", required=True, metavar="SPLIT", help="which documents")
    parser.add_argument("--no-cache", action="store_true", help="encode every text, into a temporary folder")
    parser.add_argument("--limit", type=int, metavar="N", help="first N documents only")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: its own choice)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args(argv)
    result = run(arguments)
    print(json.dumps(result, indent=2) if arguments.json else table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
