"""What the operator sees: events, one line each, and metrics.

`events` is the one list of what is logged, `log` and `output` write it, `metrics` renders numbers
that are read when they are asked for. Nothing here holds state of its own, and nothing may show a
body, a key or the credentials of a URL.
"""
