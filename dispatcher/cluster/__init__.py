"""Who has which partition, where several machines share them.

A member is one process of a cluster. What they agree on are a few records in a store that all reach
(`store.LeaseStore`): one for each partition, which its owner renews, and one for each member. A
record is replaced only by who names the revision that it replaces, so of two who want the same
partition one gets it, and the revision of the claim, the epoch, grows with every owner.

    records      what the records say, as bytes
    nats_store   the store of them: a bucket of NATS
    ownership    PURE: one partition as one member sees it, and what is to be done
    assignment   PURE: whose turn it is, and what moves
    numbers      PURE: which number a member takes
    sight        PURE: what was seen of the others, and since when
    member       drives them: looks, renews, claims; tells the node (`holder.Holder`)
    directory    who has what, for everybody who asks

That nothing is lost rests on the log alone: whoever opens it keeps every earlier epoch out. The
clocks here only keep an old owner from sending what the new one sends too: it stops before anybody
else may begin. Nothing here knows messages.
"""
