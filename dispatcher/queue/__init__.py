"""Messages over a transaction log: records, index, lanes, timers and dead letters.

`partition.Partition` is the whole of it for one partition; `ports` is where ingress and delivery
meet it. The folders follow a message's life, and import only from those named before them: records,
pending, commit, bodies, registry, lanes, compaction, deadletters, recovery, flow, admin.
"""
