"""Prevalence, and risk and protective factors."""
