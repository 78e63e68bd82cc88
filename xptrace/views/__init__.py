"""What people see: text for a terminal. Nothing of a guest's passes from here unescaped."""
