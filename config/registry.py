"""What lets a lower app reach a higher one's part without importing it: literal dicts of dotted paths."""

# What runs a BatchJob of each kind: `(job, lease) -> None` (batchjobs/kernel.py).
JOB_KINDS = {
    "import": "batchjobs.ingestion.run.import_run",
    "expiry": "batchjobs.expiry.expiry_run",
    "batch": "uploads.run.batch_run",
    "erasure": "batchjobs.erasure.erasure_run",
    "export": "exports.run.export_run",
}

# Where a batch job's data comes from, other than from a new file: JobSource objects (batchjobs/origins.py).
JOB_SOURCES = {
    "existing_file": "batchjobs.library.EXISTING_FILES",
    "audience": "exports.origins.audience.AUDIENCES",
    "report": "exports.origins.report.REPORTS",
}

# Record types of apps above batchjobs, beside those of batchjobs/ingestion/records: RecordType objects. Nobody chooses
# them in a form; jobs of their app have them.
RECORD_TYPES = {
    "batch": "uploads.records.BATCH",
}

# How long what is kept: tuples of lines (batchjobs/retention.py), one of each app that has tables of its own.
RETENTION = {
    "batchjobs": "batchjobs.retention.TABLE",
    "uploads": "uploads.retention.TABLE",
    "exports": "exports.retention.TABLE",
}

# Numbers beside the links of the sidebar: URL name -> `(account) -> int`.
NAV_COUNTS = {
    "batchjob_list": "batchjobs.services.active_count",
    "batch_upload_list": "uploads.pages.active_count",
    "export_list": "exports.pages.rows.active_count",
}
