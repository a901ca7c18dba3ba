"""The results' log: what root calls came to, for who asks within `RESULT_RETENTION`.

A log of its own, beside the transaction log: kept there, results would be copied forward for a day.
Here nothing is copied. Results are stored about in the order in which their calls ended, so the
oldest stretch of the log expires as a whole and is trimmed. The log is made when the first result
comes: a server without functions has none.

    records    what a record holds, to the byte
    index      key -> where its result is, in arrays
    known      which numbers were ever given a result: what is gone, and what never was
    holdings   what is in the log: index, chunks, stretches, kept in step
    storing    results on their way into the log, also while the disk is full
    forgetting those whose calls run again
    retention  how long they are kept
    space      the beginning of the log is given back
    reading    results on their way back
    store      all of it: `Results`
    shown      what a record says, for people
"""
