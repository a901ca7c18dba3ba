"""The engine that keeps a partition's log in a stream of NATS JetStream (see ../FORMAT.md).

One message of the stream is one batch.

    log         what the queue is given
    batch       the bytes; chain: whether messages follow each other as they were stored
    stream      what is asked of the servers about one stream, by `asking`, which asks again
    answers     what an answer means: the table
    fence       keeps earlier owners out; publishing: one message, stored once or not at all
    watching    hears of another owner while nothing is appended
    trimming    what is not needed any more, and its removal
    reading     many messages with one request
    copies      what is read back: from the `mirror` on this machine, else from the stream
    walk        reading from the beginning while it is written
    sizes       how much the stream takes, without asking
    checks      which servers and streams are refused; servers: asks them
    link        the connection, as a seam; access: how servers let a client in

Only `client` imports nats-py, which is the extra `cluster`; nothing here imports `client`.
"""
