"""The problems that the chapters on closed-form flows solve, and what S_rel does along them."""
