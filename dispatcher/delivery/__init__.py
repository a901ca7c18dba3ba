"""HTTP out: one attempt of one message, from a connection to an `AttemptResult`.

```
deliver(message) ─▶ idle connection? ─yes─▶ write head + two headers + body ─▶ Response ─▶ settle
                        │ no                       ▲     │ closed within a second, without a byte of
                        ▼                          │     │ an answer, and the connection was used
                  resolve ─▶ egress ─▶ connect ─▶ TLS ◀──┘ before (once, no attempt is spent)
```

`pool` is the only entrance. What decides does no I/O: `adding` what a rule adds to the head,
`response` what the bytes of an answer mean (`lenient`, `chunks` and `fields` where the strict
parser refuses), `endings` what follows when something ended, `lacking` whose fault it was,
`core.egress` where may be connected to. What does I/O decides nothing: `connection` moves bytes,
`streaming` signs and sends large bodies, `opening` and `dial` open connections (with `trust` those
to `https`), `resolver` (with `slots` and `lookup`) finds addresses. `idle`, `leaving` and
`deadlines` keep what waits, with one timer each.
"""
