"""Whose turn it is: a lane for each destination, and what is read back for it."""
