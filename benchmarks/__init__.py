"""Scripts that print figures side by side with peers. Run by hand: `python -m
benchmarks.throughput`.

Each script starts everything it needs on loopback (the dispatcher, nginx, wrk), interleaves the
rounds of what it compares, prints medians with their spread and the ratio, and stops everything
again. docs/benchmarks.md says what each one measures and holds the figures.
"""
