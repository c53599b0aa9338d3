"""The experiments: configs, data, networks, training, and results on disk with provenance."""
