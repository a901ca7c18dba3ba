"""Which call runs next, of all that are due.

lane    the calls that wait for one application, in their order
lanes   all lanes of a process, which take turns, and what answers teach them
turns   gives the turns, on the event loop
"""
