"""Who: people, accounts (tenants), membership, API keys, permissions, audit."""
