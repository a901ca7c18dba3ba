"""Messages over a transaction log: records, index, lanes, timers and dead letters.

`queue.Queue` is the whole of it for one partition; `ports` is where ingress and delivery meet it.
"""
