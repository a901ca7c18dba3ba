"""Durable functions: the call machine of the Dispatch protocol, on the queue's log.

    Dispatch ─▶ Created ─▶ DUE ─▶ run ─▶ exit ─▶ Exited ─▶ the parent's results, or the results' log
                           ▲       └──▶ poll ─▶ Polled ─▶ SUSPENDED (children: Created in it)
                           └───────── results, time ────────┘

Everything that happens to calls is an event (`events`): one record of the transaction log, which is
durable before anything follows from it. What an event means is one pure function of the table of
calls (`machine`), at work and at recovery alike; what an answer of an application means is another
one (`deciding`). The rest moves bytes: `store` writes events and reads inputs, states and results
back, `running` makes the attempts, `lanes` says whose turn it is.
"""
