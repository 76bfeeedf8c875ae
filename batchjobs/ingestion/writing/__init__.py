"""From checked rows to the database: chunks, in file order, each a transaction with its line in the ledger."""
