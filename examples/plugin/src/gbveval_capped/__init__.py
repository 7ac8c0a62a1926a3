"""An example plug-in for gbveval."""
