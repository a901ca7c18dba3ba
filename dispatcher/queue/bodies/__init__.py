"""Large bodies: read back from the chunk records they were stored in."""
