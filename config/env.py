"""What an operator may set, read from the environment and checked at start."""

import secrets
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode

from psycopg.conninfo import conninfo_to_dict
from pydantic import Field
from pydantic_settings import BaseSettings

BASE_DIR = Path(__file__).resolve().parent.parent


class Env(BaseSettings):
    """Every variable the product reads. Durations are seconds, sizes bytes."""

    DATA_DIR: Path = BASE_DIR / "var"
    DATABASE_URL: str = ""
    REDIS_URL: str = ""
    SECRET_KEY: str = ""
    BASE_URL: str = "http://127.0.0.1:8000"
    ALLOWED_HOSTS: str = ""
    TRUSTED_PROXY_COUNT: int = Field(default=0, ge=0)
    LOG_LEVEL: str = "INFO"
    METRICS_TOKEN: str = ""

    # The job kernel. Tests make these short.
    JOB_LEASE_SECONDS: float = Field(default=60, gt=0)
    JOB_SWEEP_SECONDS: float = Field(default=10, gt=0)
    JOB_CHUNK_ROWS: int = Field(default=64_000, gt=0)
    JOB_MAX_CRASHES: int = Field(default=3, gt=0)
    JOB_RUNNING_CAP: int = Field(default=2, gt=0)

    # Files on S3 (or what speaks like it) instead of DATA_DIR. Credentials are boto's own: AWS_ACCESS_KEY_ID, a role, …
    S3_BUCKET: str = ""
    S3_ENDPOINT_URL: str = ""
    S3_REGION: str = ""
    S3_PREFIX: str = ""
    S3_ADDRESSING_STYLE: Literal["auto", "path", "virtual"] = "auto"

    # `manage.py up` ends and starts again a worker or beat that was not heard of for so long.
    SILENT_SECONDS: float = Field(default=60, gt=0)

    # Limits of what comes in.
    UPLOAD_MAX_BYTES: int = 5 * 1024**3
    UPLOAD_PART_BYTES: int = Field(default=8 * 1024**2, gt=0)
    UPLOAD_STALL_SECONDS: float = Field(default=60, gt=0)
    UPLOAD_KEPT_HOURS: float = Field(default=48, gt=0)
    API_RATE_PER_MINUTE: int = Field(default=3_000, gt=0)  # requests to the batch API with one key
    BATCH_MAX_BYTES: int = Field(default=50 * 1024**2, gt=0)  # of a batch upload, gzipped
    BATCH_LOCATION_SECONDS: int = Field(default=3600, gt=0)  # how long its location is good
    RECORD_MAX_BYTES: int = 1_000_000
    COLUMNS_MAX: int = 1_000
    NESTING_MAX: int = 32
    UNPACKED_MAX_BYTES: int = 50 * 1024**3  # of what comes out of an archive
    UNPACKED_RATIO_MAX: int = 200  # unpacked bytes for each stored one

    # Exports: how often what is due is looked for, and how long one may read.
    EXPORTS_TICK_SECONDS: float = Field(default=20, gt=0)
    EXPORT_QUERY_SECONDS: int = Field(default=7200, gt=0)

    # Mail. Without a host it is printed into the log.
    EMAIL_HOST: str = ""
    EMAIL_PORT: int = 587
    EMAIL_USER: str = ""
    EMAIL_PASSWORD: str = ""
    EMAIL_SECURITY: Literal["starttls", "tls", "none"] = "starttls"
    EMAIL_FROM: str = "Batchdesk <batchdesk@localhost>"

    # How long what is kept (docs/retention.md), and how often it is looked after.
    FILES_KEPT_DAYS: int = Field(default=90, gt=0)
    ORPHANS_KEPT_HOURS: int = Field(default=24, ge=24)  # a worker that lost its job may still be writing
    BEFORE_IMAGES_KEPT_DAYS: int = Field(default=30, gt=0)
    TOMBSTONES_KEPT_DAYS: int = Field(default=90, ge=7)
    IDEMPOTENCY_KEPT_DAYS: int = Field(default=7, ge=1, le=7)
    CRASHES_KEPT_DAYS: int = Field(default=30, gt=0)
    HOUSEKEEPING_KEPT_DAYS: int = Field(default=90, gt=0)
    ARTIFACTS_KEPT_DAYS: int = Field(default=30, gt=0)
    TRANSFER_BOX_KEPT_DAYS: int = Field(default=5, gt=0)
    EXPIRY_EVERY_SECONDS: float = Field(default=3600, gt=0)

    @property
    def data_dir(self) -> Path:
        return self.DATA_DIR.resolve()

    @property
    def run_dir(self) -> Path:
        """Where the sockets and pid files are: behind a link if DATA_DIR is a long path."""
        return (self.data_dir / "run").resolve()

    def database(self) -> dict[str, Any]:
        """Django's DATABASES entry: from DATABASE_URL, else the embedded server's socket."""
        url = self.DATABASE_URL or f"postgresql://postgres@/batchdesk?host={quote(str(self.run_dir), safe='')}"
        parts = conninfo_to_dict(url)
        options = {
            k: v for k, v in parts.items() if k not in ("host", "port", "dbname", "user", "password") and v is not None
        }
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.get("dbname") or "batchdesk",
            "USER": parts.get("user") or "",
            "PASSWORD": parts.get("password") or "",
            "HOST": parts.get("host") or "",
            "PORT": str(parts.get("port") or ""),
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {"application_name": "batchdesk", **options},
        }

    def file_storage(self) -> dict[str, Any]:
        """Django's STORAGES entry for files: a bucket when one is named, else a folder."""
        return self._storage("files", file_overwrite=False)

    def box_storage(self) -> dict[str, Any]:
        """The one for the transfer box, where a file of the same name takes the place of the older one."""
        return self._storage("transfer-box", file_overwrite=True)

    def _storage(self, folder: str, *, file_overwrite: bool) -> dict[str, Any]:
        if not self.S3_BUCKET:
            location = {"location": self.data_dir / folder}
            return {"BACKEND": "console.storage.DurableFileSystemStorage", "OPTIONS": location}
        prefix = self.S3_PREFIX.strip("/")
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": self.S3_BUCKET,
                "endpoint_url": self.S3_ENDPOINT_URL or None,
                "region_name": self.S3_REGION or None,
                "location": f"{prefix}/{folder}".lstrip("/") if file_overwrite else prefix,
                "addressing_style": self.S3_ADDRESSING_STYLE,
                "signature_version": "s3v4",
                "default_acl": None,  # as the bucket has it: private
                "file_overwrite": file_overwrite,
                "max_memory_size": 8 * 1024**2,  # what is read goes to a temporary file beyond that
            },
        }

    def redis_url(self) -> str:
        """A redis:// or unix:// address; the embedded server's socket by default."""
        return self.REDIS_URL or f"unix://{self.run_dir / 'redis.sock'}"

    def broker_url(self) -> str:
        """The same server in Celery's spelling."""
        address, _, query = self.redis_url().partition("?")
        options = dict(parse_qsl(query))
        if address.startswith("unix://"):
            address = address.replace("unix://", "redis+socket://", 1)
            if "db" in options:
                options["virtual_host"] = options.pop("db")
        elif address.startswith("rediss://"):
            options.setdefault("ssl_cert_reqs", "required")  # Celery would take any certificate
        return f"{address}?{urlencode(options)}" if options else address

    def secret_key(self) -> str:
        """SECRET_KEY, else one made on this machine and kept in the data folder."""
        if self.SECRET_KEY:
            return self.SECRET_KEY
        file = self.data_dir / "secret-key"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_suffix(f".{secrets.token_hex(4)}")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(50))
            try:
                file.hardlink_to(fresh)  # the first of several processes wins
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return file.read_text()


env = Env()
