"""Metrics and pictures of test logits, as pure functions."""
