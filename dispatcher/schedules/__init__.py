"""When something is done that was planned: the part of schedules that calls and messages share.

cron      when: firings of a cron expression in a time zone
plans     the values: what is planned, and how far it has come
records   how they are stored
entry     which firing's turn it is: what was missed, what overlaps
ports     who makes what is planned (a `Maker` a kind), and where plans are kept
making    stores plans and marks, and has the makers make
keeper    sees that each fires when it is due
surface   what the API asks

A schedule is two facts: its plan, and its mark, which says up to which time it has fired. Its
maker sees to it that each firing (`NAME@TIME`) is made once, whenever the process dies: see
`functions.schedules` for calls.
"""
