"""The replay engine: runs the body of a durable function against a record of what it has been told.

Pure and synchronous: no I/O, no clock, no randomness. What a body does comes out as operations,
what happens meanwhile goes in as events.

    engine          Run: one call, advanced from outcome to outcome
    replaying       the record told to a body that has just begun
    delivering      what is new told to it, and recorded
    outcomes        what it wants then
    body            its coroutine, its loop and its operations
    issuing         operations: their ids, which are under way, whether they are on record
    loop            the event loop that it runs on; scheduling, timers, tasks, population, and
                    guarded and denied, what it refuses, are parts
    compat          what has to be other in asyncio
    evicting        how it is forgotten; parking, what lives until the process ends
    record          what a state holds, as it is replayed
    writing         what a state will hold
    journal         the format of a state; columns, decoding, results and varints are parts
    contradictions  what is said of code that was edited
    faults          what is said of code that must not be in a durable function
    standing        where tasks stand; where, lines of the user's code
    model           what passes between a body, the engine, and who drives it
"""
