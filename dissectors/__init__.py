"""What one record says: trace formats and the protocol. Imports nothing from `xptrace`."""
