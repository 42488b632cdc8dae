"""Published and measured scores as files, run again by one command: `python -m benchmarks --help`."""
