"""HTTP in: takes callers' requests off the wire and hands them to the queue as messages.

`listener` opens the address; `connection` is one caller's connection; `head`, `forward` and
`chunked` read bytes and decide, without I/O; `body` gathers a body or streams it into the log;
`answers` and
`refusals` are what callers are told, `outbox` keeps it in order.

What always holds: a 202 is written only when the queue said the message is durable, and one request
never takes more than a bounded amount of memory, whatever its size.
"""
