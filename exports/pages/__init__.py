"""What the templates of the Exports page get."""
