"""What goes into the log: batches of records, settlements and retries."""
