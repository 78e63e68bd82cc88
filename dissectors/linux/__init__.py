"""What Linux tells: the host kernel's traces of its guests' accesses, and a guest's own messages."""
