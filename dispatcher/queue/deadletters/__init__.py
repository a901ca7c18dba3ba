"""Dead letters: kept in a log of their own until they are redriven, purged or too old."""
