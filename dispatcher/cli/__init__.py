"""The `dispatcher` command: `main` is its entry, `app` the commands, one module for each group."""

MAKE_KEY = "--make-api-key"
"""The option of `serve`, which is looked at before the parser of options is loaded."""
COMPLETION_VARIABLE = "_DISPATCHER_COMPLETE"
"""How a shell asks for completions: it runs the command, without arguments, with this set."""
