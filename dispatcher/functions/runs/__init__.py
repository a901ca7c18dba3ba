"""Runs of calls: from when they are due until what came of them is durable.

running    which calls are due, and which wait for a time
alarms     one timer for all of these times
attempts   makes a run: from its turn to its answer
under_way  the runs that are being made
sending    from the turn to the request
following  from the decision to the log
resuming   which results a run delivers
giving     what a run is given, from memory or the log
referring  which states are left out, because the application keeps them
target     where the runs of an endpoint go, and how they are signed
asking     the request that a run is
message    the message that carries it
watching   who is told of runs
config     what is set for them
"""
