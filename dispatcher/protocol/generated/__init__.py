"""What config/protocol/generate.py writes: descriptors of the messages, and stubs for mypy. The stubs
have no module beside them: the classes are made in dispatcher/protocol/messages.py.
"""
