"""Lightning callbacks, each of use with a plain Trainer."""
