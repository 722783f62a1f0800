"""The data: downloaded, verified, split, augmented."""
