"""Who has which partition, where several machines share them.

A member is one process of a cluster. What they agree on are a few records in a store that all reach
(`store.LeaseStore`): one for each partition, which its owner renews, and one for each member. A
record is replaced only by who names the revision that it replaces, so of two who want the same
partition one gets it, and the revision of the claim, the epoch, grows with every owner.

What is decided, without I/O:

    records      what the records say, as bytes
    times        how long is waited for what
    ownership    what a partition is for a member, and what is to be done: the table
    lease        one partition as one member sees it: walks the table, and minds the time
    heart        the member's own record
    writing      what became of what was sent for one record
    sight        what was seen of the others, and since when
    numbers      which number a member takes
    assignment   whose turn it is, and what moves, for all who see the same
    shares       the same, as one member sees the cluster now
    hints        whether a record that is being stored is worth a look
    shown        what the directory shows of all that

What is done:

    member       drives them: takes a number, renews, claims, releases
    looking      when the store is looked at
    keeping      has the node open, hand over and abandon partitions
    reporting    tells the observer what became of them

What it is given, and gives:

    store        the records, as a seam; nats_store: in a bucket of NATS
    holder       the node, which holds the partitions: a seam
    observer     who writes down what happens: a seam
    directory    who has what, for everybody who asks

That nothing is lost rests on the log alone: whoever opens it keeps every earlier epoch out. The
clocks here only keep an old owner from sending what the new one sends too: it stops before anybody
else may begin. Nothing here knows messages.
"""
