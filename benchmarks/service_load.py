"""How many requests a running service answers, and how fast, when many clients ask at once.

python -m mmel.serve --model runs/movies-0 &
python -m benchmarks.service_load --documents DATA/movies/documents.val.jsonl [--clients 50] [--seconds 60]

Each client sends one document after the other over a connection of its own: the raw text without its mentions, and its
pictures as they are. Whatever is not answered with 200 is an error, after which the client goes on. The service should
run on the machine it is measured for; the clients take a share of its processors, too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from mmel.document import Document
from mmel.formats.jsonl import read_documents

EXAMPLE = """example:
  python -m benchmarks.service_load --documents DATA/movies/documents.val.jsonl
  python -m benchmarks.service_load --documents reviews.jsonl --clients 8 --seconds 20 --path /report --json
"""
_TIMEOUT = 120  # seconds that a client waits for an answer
_PAUSE = 0.1  # seconds, after an error


@dataclass
class Measured:
    """Seconds of each answer that came as it should, and how many others, by what was wrong."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    def add(self, other: Measured) -> None:
        self.seconds += other.seconds
        self.errors.update(other.errors)
        self.bytes += other.bytes

    def table(self, duration: float) -> dict[str, object]:
        """Requests a second, percentiles in milliseconds, and errors, of `duration` seconds."""
        told: dict[str, object] = {
            "requests": len(self.seconds) + sum(self.errors.values()),
            "errors": sum(self.errors.values()),
            "requests_per_second": round(len(self.seconds) / duration, 2),
            "mebibytes_per_second": round(self.bytes / duration / (1 << 20), 2),
        }
        if self.seconds:
            values = np.percentile(self.seconds, [50, 95, 99, 100]) * 1000
            told |= dict(zip(("p50_ms", "p95_ms", "p99_ms", "max_ms"), values.round(1).tolist(), strict=True))
        return told | ({"by_error": dict(self.errors)} if self.errors else {})


def request_body(document: Document, pictures: Path | None) -> tuple[bytes, str]:
    """The form of a raw document, and its content type; without `pictures` only its text."""
    boundary = uuid.uuid4().hex
    images = dict.fromkeys([*document.images, *(mention.image for mention in document.visual_mentions)])
    parts: list[tuple[str, str, bytes]] = [("text", "", document.text.encode())]
    if pictures is not None:
        parts += [("pictures", Path(image).name, (pictures / image).read_bytes()) for image in images]
    lines = []
    for name, file, content in parts:
        named = f'; filename="{file}"' if file else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        lines += [head.encode(), content, b"\r\n"]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def ask(host: str, path: str, bodies: Sequence[tuple[bytes, str]], end: float, seed: int) -> Measured:
    """One client: sends bodies in an order of its own until the time `end`."""
    measured, order = Measured(), random.Random(seed)
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    while time.monotonic() < end:
        body, kind = order.choice(bodies)
        begun = time.monotonic()
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            measured.errors[type(error).__name__] += 1
            connection.close()
            time.sleep(_PAUSE)
            continue
        if response.status == 200:
            measured.seconds.append(time.monotonic() - begun)
            measured.bytes += len(body)
        else:
            measured.errors[f"{response.status} {content[:200].decode(errors='replace')}"] += 1
            time.sleep(_PAUSE)
    connection.close()
    return measured


def load(url: str, path: str, bodies: Sequence[tuple[bytes, str]], clients: int, seconds: float) -> dict[str, object]:
    """Let so many clients ask for so long; what they measured together."""
    host, total, lock = urlsplit(url).netloc, Measured(), threading.Lock()
    begun = time.monotonic()

    def run(seed: int) -> None:
        measured = ask(host, path, bodies, begun + seconds, seed)
        with lock:
            total.add(measured)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"clients": clients, "path": path} | total.table(time.monotonic() - begun)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=Path, required=True, metavar="FILE", help="documents as JSON lines")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service")
    parser.add_argument("--path", default="/link", help="what is asked for: /link or /report")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--text-only", action="store_true", help="leave the pictures out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    values = parser.parse_args(argv)
    folder = None if values.text_only else values.documents.parent
    bodies = [request_body(document, folder) for document in read_documents(values.documents)]
    told = load(values.url, values.path, bodies, values.clients, values.seconds)
    lines = "\n".join(f"{name:<22}{value}" for name, value in told.items())
    print(json.dumps(told, indent=2) if values.json else lines)
    return 1 if told["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
