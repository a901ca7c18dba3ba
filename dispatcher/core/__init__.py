"""Pure decisions, and the values they are about.

No I/O here, and no clock and no chance but what is passed in.
"""
