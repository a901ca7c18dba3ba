"""What a person writes functions with: `@function`, calls of them, and what else a body waits for.

    ports, spec, context    what other parts of the SDK give to this one, and get from it
    function, call          a function, and one call of it
    decide                  whether a function is plain or durable, and why

Inside a durable function everything here is an operation of the loop that runs it; inside a plain
one it is a signal to who runs that (`ports.Net`); elsewhere it goes through the client of the
application (`ports.Caller`).
"""
