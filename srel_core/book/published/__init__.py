"""What the published notebooks compute, and the figures they print."""
