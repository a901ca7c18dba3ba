"""`dispatcher top`: the lanes, live, on the whole terminal, with keys to act on them.

From what is pressed to what is seen: `keys` reads them, `pressing` decides what they mean on the
page that is shown (`state`), `asking` talks to the API in threads of its own, `drawing` makes lines
of the state, and `command` puts them together. Only `asking` and `command` do anything; the others
are functions of what they are given.
"""
