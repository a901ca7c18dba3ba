"""Who is told of what goes wrong, by durable messages: the `[[notify]]` tables of the rules.

what happens ─▶ notifier ─▶ limiter ─▶ wording ─▶ a message as any other, labelled `notify`
conditions ────────┘
"""
