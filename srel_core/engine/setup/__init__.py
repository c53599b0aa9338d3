"""What every way of measuring starts from: the checked problem, its memory, its threads."""
