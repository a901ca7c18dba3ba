"""The layouts of events: which fields their headers have, in which order.

parts    what several layouts have
answers  what an answer of an application leads to
lives    how calls begin and end otherwise
outside  promises, channels, facts
copies   whole calls, copied forward

A layout never changes once it was used: see `codec`.
"""
