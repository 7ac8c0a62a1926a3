"""Processes of this field with known truth, and real data that packages ship."""
