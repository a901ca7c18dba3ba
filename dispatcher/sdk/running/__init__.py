"""Runs functions: from what a Run request asks to what it is answered.

    requests, responses   the messages of a run as values, and back
    runner                which of the two below, and what a request that came before was answered
    plain, net            a function on the application's loop or in a thread, until it ends
    durable, steps        a function that is replayed, until it waits for the server
    warm, answers         suspended functions and last answers, kept in memory

What is kept in memory saves work and decides nothing: with or without it the answers mean the same.
"""
