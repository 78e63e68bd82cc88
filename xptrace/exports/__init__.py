"""Rows for machines: the same keys in every format."""
