"""Synthetic recordings, and how fast and in how much memory xptrace reads them."""
