"""Small named facts that outlive a message."""
