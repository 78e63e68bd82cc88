"""The anomalies A01 to A52: one small rule each, filed by what they are about."""
