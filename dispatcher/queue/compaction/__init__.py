"""Space: what is needed no more is given back to the disk."""
