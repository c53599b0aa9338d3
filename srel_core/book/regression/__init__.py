"""The rule that judges two phases, and the rows of its table."""
