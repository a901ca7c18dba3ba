"""Messages and dead letters in files: export, import, and what the first Dispatcher wrote."""
