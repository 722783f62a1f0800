"""What is trained: networks in plain torch."""
