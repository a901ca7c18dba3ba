"""Rules: how messages to some destinations are treated, otherwise than the settings say.

`match` says which messages, `rule` what is done with them, `table` which rule is whose, and which
rules are in force. They are written in the configuration file and read by `settings.rules`; here
are only their values, and the question which of them a message has.
"""
