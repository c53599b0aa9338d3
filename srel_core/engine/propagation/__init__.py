"""Changes of activations pushed through a network, without subtracting predictions."""
