"""Lightning loggers: metrics.csv, and W&B without an account."""
