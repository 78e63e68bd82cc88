"""The pandas tables: one schema each, every dtype fixed."""
