"""Evidence across sites."""
