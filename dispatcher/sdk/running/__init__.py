"""Runs functions: from what a Run request asks to what it is answered.

    runner                which of the two below, unless it was answered before
    plain, net            a function on the application's loop or in a thread, until it ends
    durable, activation   a function that is replayed, until it waits for the server
    steps, intents        what a durable function has done outside of it
    session, warm         suspended functions, kept in memory
    answers               last answers, kept in memory
    parts                 more calls than one answer takes
    recalling             large results, kept by the server
    requests, responses   the messages of a run as values, and back
    stored                the input of a call in front of its record
    runnable              what all of this needs of a function

What is kept in memory saves work and decides nothing: with or without it the answers mean the same.
"""
