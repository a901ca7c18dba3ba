"""Runs that applications fetch, because nobody can connect to them.

sessions  what the API asks
session   one session, and its requests that are out
bridge    lets callers fetch runs, and takes their answers
"""
