"""The vocabulary: estimands, estimates, protocols, the registry, errors."""
