"""The `dispatcher` command: `main` is its entry, `app` the commands, one module for each group."""
