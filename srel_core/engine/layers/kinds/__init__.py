"""One file for each kind of layer that the fast ways can take apart, registered by exact type."""
