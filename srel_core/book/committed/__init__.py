"""The committed results: their schema, how they are written, read and verified."""
