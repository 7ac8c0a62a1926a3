"""Power by formula and by simulation; it knows no estimator."""
