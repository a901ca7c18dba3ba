"""The replay engine: runs the body of a durable function against a record of what it has been told.

Pure and synchronous: no I/O, no clock, no randomness. What a body does comes out as operations,
what happens meanwhile goes in as events.
"""
