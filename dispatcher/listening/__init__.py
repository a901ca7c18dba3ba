"""What the listeners of callers and of operators have in common: sockets, and TLS over them."""
