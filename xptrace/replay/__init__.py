"""Recordings against the model: replay, best fit, the state at any instant, what if, coverage."""
