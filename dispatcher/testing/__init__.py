"""Twins of the parts that touch the outside world: a clock one can turn, a disk one can crash,
destinations that answer as told. For tests, ours and other people's; the server never imports them.
"""
