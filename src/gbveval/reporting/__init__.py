"""Reports and figures of released results."""
