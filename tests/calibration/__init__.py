"""Simulation-based calibration of the sampled hierarchy, and the record of it."""
