"""What driver and device settled."""
