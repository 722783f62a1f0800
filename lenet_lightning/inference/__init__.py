"""What uses a trained network, without Lightning."""
