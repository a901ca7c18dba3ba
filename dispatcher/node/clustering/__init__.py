"""A node that is one of several machines.

running     the process: from its settings to a server that runs
config      what it is told of its cluster; configured: made of the settings
joining     NATS connected to and looked at, the bucket, and what all members have in common
anteroom    where operators find it before it is a member
greeting    what it learns of the members that there are, before it serves
holder      opens, keeps and hands over the partitions that are this node's
observing   what becomes of them, written down
streams     the logs of partitions, which are streams there

What a server has as a node of a cluster stands beside it: `node/clustered.py`, `in_cluster.py`.
"""
