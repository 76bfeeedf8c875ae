"""The marketing data: databases, profiles, interactions, suppressions."""
