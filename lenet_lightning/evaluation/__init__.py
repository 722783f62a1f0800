"""What test logits say: metrics and pictures of them, as pure functions."""
