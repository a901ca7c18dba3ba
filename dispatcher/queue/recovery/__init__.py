"""What is pending is rebuilt from the log."""
