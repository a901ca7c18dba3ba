"""Backups: copies of all logs, made while the server runs, and put back while it does not."""
