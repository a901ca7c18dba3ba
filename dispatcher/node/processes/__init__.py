"""Several server processes on one machine: a parent that serves nothing itself, and its children.

    preparing ──exec──▶ parent ──spawn──▶ child 0, 1, … n-1
    (settings,          (fleet, life)       (a server each)
     sockets, plan)        ◀── line ──▶

`preparing` reads the settings, binds the sockets, writes the plan and becomes the parent. The
parent is a loop over `selectors` that imports nothing of the server: `fleet` and `life` decide, it
carries out. A child is the server's process as it always was, on sockets that it was given, with a
line to the parent in place of systemd.

**Children are programs of their own**, started by fork and exec, and no forks of a parent that has
imported the server. That costs 0.7 s of processor time a start, which a restart within three
seconds has room for. It buys: the parent is 17 MB in place of 83, and nothing of what it imports
can break it; no child has the parent's ends of the lines to the others, so that all of them see the
end of the parent; and addresses and hash seeds are each child's own.
"""
