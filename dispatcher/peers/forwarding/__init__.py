"""Messages with a key go to the process that has the partition of their place.

    Router ─▶ elsewhere ─▶ Remote ─▶ errands, uploads ══ link ══▶ receiving ─▶ Intake over there
                                       held: while it is away

    encoding    messages and answers as payloads: pure
    elsewhere   the partitions of other processes, each a `Remote`
    remote      one of them: an `Acceptor`, as an `Intake` is one
    errands     one message, or group, on its way
    waiting     one whose caller waits for what becomes of it
    uploads     a large body on its way
    anywhere    messages without a key, of a node that has no partition itself
    receiving   what the other side does

What a caller is told is what it would be told there, and one thing more: where the link was lost
after a message had left, nobody knows whether it is stored, and its connection is cut. With an
idempotency key it is sent once more: the other side knows it then, if it had come.

In a cluster partitions move. Who has it not, or not yet, has stored nothing, and what he was sent
goes where it is by then (`remote`); into the intake of this process, if that is here.
"""
