"""The engine that keeps a partition's log in a stream of NATS JetStream (see ../FORMAT.md).

One message of the stream is one batch. `log` is what the queue is given; `batch` has the bytes,
`stream` the requests to the servers, `fence` and `publishing` who may store what, `reading` and
`mirror` what is read back, `checks` which servers and streams are refused. Only `client` imports
nats-py, which is the extra `cluster`; nothing here imports `client`.
"""
