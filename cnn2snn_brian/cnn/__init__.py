"""Trained PyTorch CNNs: reading them, adjusting them, and their weights."""
