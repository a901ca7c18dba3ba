"""What waits: an entry for every pending message, its chains and its place in the log."""
