"""What only the chapters and the tools of the book need."""
