"""The shell's tools: tables, HTMX helpers, template tags, storage. No models."""
