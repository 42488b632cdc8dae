"""`python -m mmel` is the `mmel` command."""

from __future__ import annotations

from mmel.cli import entry

if __name__ == "__main__":
    entry()
