"""Disclosure control: policy, suppression, audit, and the only door out."""
