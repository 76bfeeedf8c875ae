"""What is in a file: one module a record type, all of one shape (see columns.py)."""
