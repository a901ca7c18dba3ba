"""Durable functions: the call machine of the Dispatch protocol, on the queue's log.

    Dispatch ─▶ Created ─▶ DUE ─▶ run ─▶ exit ─▶ Exited ─▶ the parent's results, or the results' log
                           ▲       └──▶ poll ─▶ Polled ─▶ SUSPENDED (children: Created in it)
                           └───────── results, time ────────┘

Everything that happens to calls is an event (`events`): one record of the transaction log, which is
durable before anything follows from it. What an event means is one pure function of the table of
calls (`machine`), at work and at recovery alike; what an answer of an application means is another
one (`deciding`). The rest moves bytes.

The life of a call, in the order of the folders and files:

    model, events, machine  what a call is, what happens to it, and what that means
    intake, checking        it is dispatched: checked, and stored
    store                   events on their way into the log, and bytes back
    lanes                   it waits for its turn
    runs, bridge            it is run: the request is sent, or fetched
    deciding                what the answer means
    ending, results         it has ended: its result, its dead letter
    views                   what people see of it meanwhile
    schedules               calls that begin at their times
    surface, shown          what the API asks, and is shown
    service, outside        how it is put together, and what the API gets
"""
