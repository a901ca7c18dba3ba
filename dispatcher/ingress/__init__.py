"""HTTP in: takes callers' requests off the wire and hands them to the queue as messages.

`listener` opens the addresses, and `entrance` has what differs between them. `connection` is one
caller's connection and says who is next: `requests` where a head is there, `pieces` where something
is not whole; both give `handover` what is, or `handover_all` what is for a group. `exchange` is
what they have in common, and `states` says what may follow what; `heads`, `receiving`, `local`,
`backlog` and `closing` are its parts, `outbox` keeps its answers in order. `slow` ends what takes
too long. `head`, `forward`, `pattern`
and `chunked` read bytes and decide, without I/O; `body` gathers a body or streams it into the log;
`answers` and `refusals` are what callers are told. `turn` and `memory` bound what one connection
may do at once, and what all of them may hold.

What always holds: a 202 is written only when the queue said the message is durable; the bodies of
all requests together never take more than a bounded amount of memory, whatever their sizes; and no
caller holds up the others for longer than some milliseconds, whatever it sends.
"""
