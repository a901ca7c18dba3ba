"""Whether a function is plain or durable, by what its code names.

    scanning     names in the bytecode of one function, as chains: `svc.client.get`
    resolving    what a chain means, without running anything
    scope        whose code is looked into: the user's
    evidence     what makes a body durable
    walking      from function to function, the nearest evidence first
    decision     the answer with its reason

Known misses, which the net below plain functions catches: `getattr` by a string, objects without a
type hint, more than five calls down, code written in C. Known false hits: a body that only mentions
a function, as `print(greet)`; then its I/O raises an error that names the chain, and durable=False.
"""
