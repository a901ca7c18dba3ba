"""The keys that sign runs: Ed25519, in one PEM file.

keys      keys, and what applications verify with
file      the file, and how a key is replaced
in_force  what a running server signs with
"""
