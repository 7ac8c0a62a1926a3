"""Estimators for rollouts over time."""
