"""The claims of the paper, and the evidence for and against each."""
