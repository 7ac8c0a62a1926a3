"""Allocation of units to arms: declared schemes, what they imply, and lists that are sealed."""
