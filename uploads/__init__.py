"""Batch uploads: gzipped batches pushed by developers."""
