"""Everything that runs in the background, and the ingestion of files."""
