"""What becomes of root calls that have ended.

moving    their results go to the results' log, then they are forgotten
burying   those that failed or expired become dead letters
reviving  a dead letter is redriven: its call begins anew
waiting   who waits, from outside, for a result
"""
