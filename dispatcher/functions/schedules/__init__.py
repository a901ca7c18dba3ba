"""Calls that are dispatched at their times.

cron      when: firings of a cron expression in a time zone
records   what is stored: the plan of a schedule, and how far it has come
entry     which firing's turn it is: what was missed, what overlaps
making    stores plans and marks, and makes the calls
keeper    sees that each fires when it is due
surface   what the API asks

A schedule is two facts: its plan, and its mark, which says up to which time it has fired. A firing
is one event with the call and the new mark: a crash leaves both or none, so each firing
(`NAME@TIME`) makes one call. Today a plan says which call; that it is a call stands in its record,
so that messages can be planned too.
"""
