"""The regression experiments: problems, stacked networks, settings."""
