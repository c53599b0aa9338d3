"""One layer at a time: per-sample gradients, small maps as products, compiled loops."""
