"""Checked data: frames in, arrays out, every problem told at once."""
