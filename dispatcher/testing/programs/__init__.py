"""Random durable programs, and a server in simulated time that crashes them wherever it can.

    node ──▶ stage, kinds (the body) ──▶ replay.Run ──▶ host ──▶ server ──▶ comparing
                                                         plan ────▲

A program is a tree of nodes: calls, steps, tasks, timeouts, queues. A plan says in which order and
in which batches the results come; a regime says what goes wrong on the way. However much goes
wrong, what a program does under one plan is the same: `comparing` says where it is not.

Nothing here needs more than the SDK does, `strategies` apart: a corpus is replayed by interpreters
that have nothing else installed.
"""
