"""Bytes to meaning and back: what lies in the log for a message. Pure."""
