"""How the processes of one server, or the nodes of a cluster, speak with each other.

    frames      the bytes: pure; kinds: what they may be about
    hello       the first frame of each side
    streams     what is larger than a frame, or goes on
    serving     what a process answers: a handler for each kind
    refusing    refusals as bytes; errors: what a link raises
    link        one connection
    peer        another process, as other parts have it: connected or not
    links       all connections of a process: made, and made anew
    directory   which process has a partition
    wires       unix sockets between processes of one machine

    handshake   how a connection between nodes begins: pure
    admission   that, on a connection
    gate        the port that nodes connect to; `tls` under it
    tcp_wires   links through it
    tunnel      connections to the API, wherever that is

    forwarding/ on top of links: messages to a partition of another process

    calls       also on top: the methods of a Protocol that another process serves (`answers`)
    methods     how their arguments and results are written down, from its annotations
    envelopes   a question of a call, and its answer, as one payload; told_errors, steering: the
                errors and the courses in it
    remote_…    what operators see and do in a partition of another process

What other parts of the program use of it: `Peer.ask` and `Peer.open`, and a `Table` of what they
answer. A link does not know messages, and nothing above it whether processes share a machine.
"""
