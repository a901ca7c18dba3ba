"""What people see of calls.

timelines  what happens to a call, as entries
history    keeps the entries in memory, within bounds
telling    passes them to figures, the log and `/v1/events`
figures    counts them
looking    calls that exist, pages of them, trees
finding    calls wherever they are, and their results
overview   all calls together: states, totals, lanes
"""
