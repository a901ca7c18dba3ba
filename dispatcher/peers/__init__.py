"""How the processes of one server speak with each other.

    frames      the bytes: pure
    hello       the first frame of each side
    streams     what is larger than a frame, or goes on
    serving     what a process answers: a handler for each kind
    link        one connection
    links       all connections of a process: made, and made anew
    directory   which process has a partition

`link` is what other parts of the program use: `Peer.ask` and `Peer.open`, and a `Table` of what
they answer. Nothing here knows messages, nor whether processes share a machine.
"""
