"""What listens on `API_LISTEN` of a node of a cluster: the API itself is where partition 0 is, and
that may be another node, and another one a moment later.

    /healthz, /readyz, /metrics   are of the node that is asked, and answered by it
    everything else               is passed on to the node that has the API (`Upstream`)

A request that is passed on is the same there, and so is its answer here: method, target, status,
headers in their order and spelling, and bodies, which go through in pieces as they come, both ways
and at the pace of the slower side. Only what belongs to one connection is made anew: `Connection`,
`Keep-Alive`, `Transfer-Encoding`. A caller that goes away ends its request there too.

    nobody has the API, or cannot be reached     503 `moved`, ask again after a second
    it went away before its answer               of what only looks the same; else the connection of
                                                 the caller is cut: whether it was done nobody knows
    it went away in the middle of its answer     the connection is cut

    exchange.py   one request and its answer over a connection to the API
    heads.py      their heads as bytes (pure)
    callers.py    whose a request is that was passed on
    passing.py    which connection, and what is told when there is none
    server.py     the listener
"""
