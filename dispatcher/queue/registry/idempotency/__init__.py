"""Idempotency keys: which message a key stands for, in memory and durably."""
