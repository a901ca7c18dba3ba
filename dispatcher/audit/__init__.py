"""What operators did, kept across restarts: the audit.

entries   the values
records   how they are stored
index     where they are, and which match
trail     writes them into a log of their own, and reads them
shown     what `dispatcher log dump` says of a record

The audit has a log of its own, `audit.log` beside the transaction log, made with the first entry:
an engine of `txlog`, so that it is verified, dumped, backed up and restored as the others are. It
is the only log that may fail: what cannot be written waits in memory, bounded, and the server goes
on.
"""
