"""The device in our own model: what it must answer, what it remembers, and what it takes away."""
