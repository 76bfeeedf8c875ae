"""What lets a lower app reach a higher one's part without importing it: literal dicts of dotted paths."""

# What runs a BatchJob of each kind: `(job, lease) -> None` (batchjobs/kernel.py).
JOB_KINDS = {
    "import": "batchjobs.ingestion.run.import_run",
}

# Numbers beside the links of the sidebar: URL name -> `(account) -> int`.
NAV_COUNTS = {
    "batchjob_list": "batchjobs.services.active_count",
}
