"""The Dispatch protocol: its messages, statuses, errors and signatures, and the signatures of
webhooks, for the server and for what applications import. It knows nothing else of this package.
"""
