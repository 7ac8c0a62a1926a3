"""Planned designs and the processes they imply."""
