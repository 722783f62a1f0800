"""Where digits come from."""
