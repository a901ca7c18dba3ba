"""The store: events in the transaction log, and bytes back from it (`ports.Store`)."""
