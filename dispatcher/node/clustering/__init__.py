"""A node that is one of several machines.

anteroom  where operators find it before it is a member
config    what it is told of its cluster
holder    opens, keeps and hands over the partitions that are this node's
joining   NATS connected to and looked at, the bucket, and what all members have in common
streams   the logs of partitions, which are streams there
"""
