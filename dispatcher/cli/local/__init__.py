"""`dispatcher run`: an application and a server of its own on this machine, until Ctrl-C.

    dispatcher run ──┬── guard             ends all of the others if this process is killed
                     ├── server            of the session, on loopback
                     └── CMD and its children, a process group

A *session* is a directory: logs, signing key, and where the application listens. One thread decides
(`supervising`), by what the others put into its queue: lines that were printed, calls that moved,
processes that ended, signals, files that changed. `course` says what follows, `screen` shows it.
"""
