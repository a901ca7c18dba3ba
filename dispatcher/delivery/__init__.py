"""HTTP out: one attempt of one message, from a connection to an `AttemptResult`.

```
deliver(message) ─▶ idle connection? ─yes─▶ write head + two headers + body ─▶ Response ─▶ settle
                        │ no                       ▲     │ closed before any byte of an answer, and
                        ▼                          │     │ the connection had been used before
                  resolve ─▶ egress ─▶ connect ─▶ TLS ◀──┘ (once, no attempt is spent)
```

`pool` is the only entrance. `response` decides what the bytes of an answer mean, without any I/O;
`connection` moves bytes; `dial` opens connections; `resolver` and `core.egress` say where to;
`deadlines` ends what takes too long.
"""
