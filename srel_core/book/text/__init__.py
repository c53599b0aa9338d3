"""What chapters say about results, in Markdown."""
