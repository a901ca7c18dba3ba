"""A durable HTTP dispatcher: one write path, one recovery path, one machine.

    caller ─HTTP─▶ ingress ─▶ queue ─append─▶ txlog (write + fdatasync, a batch at a time)
                      ▲          │                │ durable
                      └── 202 ───┼────────────────┘
                                 ▼
                         lanes (one per destination) ─pick─▶ delivery ─HTTP─▶ destination
                                 ▲                              │ response / failure
                                 └── settle: done | retry at | dead ── append ─▶ txlog

The transaction log is the truth; everything else can be rebuilt from it. A message exists from the
moment its record is durable, and ends with the record of its outcome.

The packages, from the top down; each imports only what stands below it:

    cli        the command line
    node       builds the parts, starts and stops them in order, signals
    api        the management API, the dashboard, health, metrics
    ingress, delivery    HTTP in, HTTP out
    functions  function calls, on the queue's log and the same delivery
    schedules  when something is done that was planned
    queue      messages over a transaction log: records, index, lanes, timers, dead letters
    txlog      the transaction log: bytes in order, durable
    settings, telemetry  what the operator sets, what the operator sees
    core       pure: messages, outcomes, retry, limits, breaker
    receiver   what applications check requests with that are delivered to them
    sdk        the library that applications write durable functions with
    protocol   the messages of function calls, and signatures: shared by the server and those two
    errors     the exceptions and refusals of all of them
    build      whether this copy is compiled
    testing    simulated clock, disk and destinations; never imported by the server
"""

__version__ = "0.5.0"
