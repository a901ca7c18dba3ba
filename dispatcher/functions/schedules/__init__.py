"""Calls that are dispatched at their times.

calls   makes the calls that are planned (`schedules.ports.Maker`)
facts   keeps what is planned in the store of calls (`schedules.ports.Facts`)

A firing is one event with the call and the new mark: a crash leaves both or none, so each firing
makes one call.
"""
