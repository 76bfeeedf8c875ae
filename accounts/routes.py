"""Who may reach which route: every route of the URLconf stands here (tests/integration/test_routes.py)."""

from __future__ import annotations

from enum import Enum

from accounts.permissions import Permission


class Access(Enum):
    PUBLIC = "public"  # anyone; the session is not looked at
    SIGNED_IN = "signed_in"  # any person, also one without an account
    STAFF = "staff"  # support staff


PUBLIC, SIGNED_IN, STAFF = Access.PUBLIC, Access.SIGNED_IN, Access.STAFF
VIEW, RUN_JOBS, MANAGE = Permission.VIEW, Permission.RUN_JOBS, Permission.MANAGE

Rule = Permission | Access

# View name -> what it takes, or method -> what it takes (other methods are refused with 405).
# HEAD and OPTIONS count as GET where they do not stand by themselves. A name that ends in `*` stands for a whole
# namespace.
ROUTES: dict[str, Rule | dict[str, Rule]] = {
    # The shell.
    "home": SIGNED_IN,
    "favicon": PUBLIC,
    "profile": SIGNED_IN,
    "account_switch": SIGNED_IN,
    "api_key_list": MANAGE,
    "api_key_new": MANAGE,
    "api_key_revoke": MANAGE,
    # Signing in (allauth).
    "account_login": PUBLIC,
    "account_logout": PUBLIC,
    "account_inactive": PUBLIC,
    "account_reset_password": PUBLIC,
    "account_reset_password_done": PUBLIC,
    "account_reset_password_from_key": PUBLIC,
    "account_reset_password_from_key_done": PUBLIC,
    # Batch jobs.
    "batchjob_list": VIEW,
    "batchjob_new": RUN_JOBS,
    "batchjob_live": VIEW,
    "columns_index": VIEW,
    "columns_reference": VIEW,
    "columns_template": VIEW,
    "batchjob_view_new": VIEW,  # everybody keeps views of their own
    "batchjob_view_delete": VIEW,
    "batchjob_detail": VIEW,
    "batchjob_look": RUN_JOBS,
    "batchjob_again": RUN_JOBS,
    "batchjob_answer": RUN_JOBS,
    "batchjob_cancel": RUN_JOBS,
    "batchjob_run_anyway": RUN_JOBS,
    "batchjob_source": VIEW,
    "batchjob_error_log": VIEW,
    "batchjob_rejected_rows": VIEW,
    "batchjob_skipped_rows": VIEW,
    "upload_list": RUN_JOBS,
    "upload": RUN_JOBS,
    "upload_discard": RUN_JOBS,
    # Batch uploads.
    "batch_upload_list": VIEW,
    "batch_upload_live": VIEW,
    "batch_upload_detail": VIEW,
    "batch_upload_log": VIEW,
    # Exports.
    "export_list": VIEW,
    "export_live": VIEW,
    "export_detail": VIEW,
    "export_copy": RUN_JOBS,
    "export_delete": RUN_JOBS,
    "export_schedule": RUN_JOBS,
    "export_unschedule": RUN_JOBS,
    "export_run_now": RUN_JOBS,
    "export_resync": RUN_JOBS,
    "export_run_detail": VIEW,
    "export_run_definition": VIEW,
    "export_run_why": VIEW,
    "export_run_download": VIEW,
    "export_run_relaunch": RUN_JOBS,
    "export_run_window_again": RUN_JOBS,
    "export_run_cancel": RUN_JOBS,
    "export_run_copy": RUN_JOBS,
    # The wizard.
    "export_new": RUN_JOBS,
    "export_edit": RUN_JOBS,
    "export_columns": RUN_JOBS,
    "export_count": RUN_JOBS,
    "export_preview": RUN_JOBS,
    "export_next_runs": RUN_JOBS,
    # The API. The key's role decides.
    "api:batch_jobs": {"GET": VIEW, "POST": RUN_JOBS},
    "api:batch_job": {"GET": VIEW},
    "api:batch_job_cancel": {"POST": RUN_JOBS},
    "api:batch_job_error_log": {"GET": VIEW},
    "api:batch_job_rejected_rows": {"GET": VIEW},
    "api:batch_job_skipped_rows": {"GET": VIEW},
    "api:batch_job_source": {"GET": VIEW},
    "api:record_types": {"GET": VIEW},
    "api_upload_list": {"OPTIONS": RUN_JOBS, "POST": RUN_JOBS},
    "api_upload": {"OPTIONS": RUN_JOBS, "HEAD": RUN_JOBS, "PATCH": RUN_JOBS, "DELETE": RUN_JOBS},
    "api:profiles": {"GET": VIEW},
    "api:interactions": {"GET": VIEW},
    "api:exports": {"GET": VIEW, "POST": RUN_JOBS},
    "api:export": {"GET": VIEW, "PATCH": RUN_JOBS, "DELETE": RUN_JOBS},
    "api:export_schedule": {"POST": RUN_JOBS},
    "api:export_unschedule": {"POST": RUN_JOBS},
    "api:export_copy": {"POST": RUN_JOBS},
    "api:export_run_now": {"POST": RUN_JOBS},
    "api:export_resync": {"POST": RUN_JOBS},
    "api:export_runs": {"GET": VIEW},
    "api:export_run": {"GET": VIEW},
    "api:export_run_download": {"GET": VIEW},
    "api:export_run_relaunch": {"POST": RUN_JOBS},
    "api:export_run_window_again": {"POST": RUN_JOBS},
    "api:export_run_cancel": {"POST": RUN_JOBS},
    "api:export_fields": {"GET": VIEW},
    "api:destinations": {"GET": VIEW},
    "api:openapi-json": {"GET": PUBLIC},
    "api:api-root": {"GET": PUBLIC},
    "api_docs": {"GET": PUBLIC},
    "api_not_found": PUBLIC,
    # The batch API. Locations and logs are signed links.
    "batch": {"GET": VIEW, "PUT": RUN_JOBS},
    "batch_inspect": {"GET": VIEW},
    "batch_inspect_list": {"GET": VIEW},
    "batch_location": {"PUT": PUBLIC},
    "batch_log": {"GET": PUBLIC},
    "batch_not_found": PUBLIC,
    # For machines. `metrics` checks its own token.
    "healthz": {"GET": PUBLIC},
    "readyz": {"GET": PUBLIC},
    "metrics": {"GET": PUBLIC},
    # Support staff.
    "admin:*": STAFF,
}


class RouteUnknownError(Exception):
    """A view without a rule. Nothing is shown rather than too much."""


def rule_entry(view_name: str) -> Rule | dict[str, Rule]:
    """The table's entry for a view. Raises RouteUnknownError."""
    namespace, colon, _name = view_name.partition(":")
    entry = ROUTES.get(view_name) or (ROUTES.get(f"{namespace}:*") if colon else None)
    if entry is None:
        raise RouteUnknownError(f"The view “{view_name}” has no rule in accounts/routes.py.")
    return entry


def rule_of(view_name: str, method: str) -> Rule | None:
    """What the request takes; None for a method the route does not have. Raises RouteUnknownError."""
    entry = rule_entry(view_name)
    if not isinstance(entry, dict):
        return entry
    return entry.get(method) or (entry.get("GET") if method in ("HEAD", "OPTIONS") else None)
