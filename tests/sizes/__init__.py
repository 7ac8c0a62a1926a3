"""Measures size, coverage and bias of every estimator of cluster trials when clusters are few."""
