"""What the end of a run means. Pure, but for what `judging` remembers in memory.

answers    what came back, in terms of the protocol
appending  states that grow
polling    an answer that is a poll
streaks    HTTP 500s in a row
decisions  what a run can come to
deciding   which of that it is
judging    the same with what earlier runs have shown
"""
