"""Runs that applications fetch, because nobody can connect to them.

sessions  what the API asks
bridge    lets callers fetch runs, and takes their answers
"""
