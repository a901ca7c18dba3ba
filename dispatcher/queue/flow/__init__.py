"""The hot path: accepting, starting, settling; what the outcome of an attempt means."""
