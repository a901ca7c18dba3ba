"""Messages over a transaction log: records, index, lanes, timers and dead letters.

`partition.Partition` is the whole of it for one partition; `ports` is where ingress and delivery
meet it. The folders follow a message's life, and import only from those named before them:

    records      bytes to meaning: messages, their terms, keys, ends, dead letters
    pending      what is not settled: index, timers, deadlines, extents of the log
    commit       group commit; settlements, and endings: an end and what is born of it, in one unit
    bodies       large bodies
    registry     what lasts longer than a message: holds of destinations, idempotency keys
    lanes        who is next: gates, turns, and the lines of order keys and flow keys
    compaction   what is needed is written again before the oldest part of the log is dropped
    deadletters  letters, their log, redrive
    recovery     what a start reads
    flow         a message from intake to its end: duplicates, groups, callbacks, expiry
    admin        what operators ask and do
"""
