"""What the end of a run means. Pure, but for what `judging` remembers in memory.

deciding   the table of what follows
responses  the same for a complete 2xx
failures   and for everything else
ended_run  the ways in which a run can go on
decisions  what comes out
judging    deciding, with what earlier runs have shown

answers    what came back, in terms of the protocol
polling    an answer that is a poll
appending  states that grow
streaks    HTTP 500s in a row
"""
