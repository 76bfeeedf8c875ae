"""Django settings. What differs between machines comes from config/env.py."""

from urllib.parse import urlsplit

from csp.constants import NONCE, NONE, SELF
from django.utils.translation import gettext_lazy as _

from config.env import BASE_DIR, env
from config.logs import LOGGING, configure_structlog

__all__ = ["LOGGING"]

DATA_DIR = env.data_dir
SECRET_KEY = env.secret_key()
DEBUG = False
BASE_URL = env.BASE_URL.rstrip("/")
HTTPS = BASE_URL.startswith("https://")
ALLOWED_HOSTS = [h for h in env.ALLOWED_HOSTS.split(",") if h] or [
    urlsplit(BASE_URL).hostname or "127.0.0.1",
    "127.0.0.1",
    "localhost",
    "[::1]",
]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "csp",
    "django_filters",
    "django_htmx",
    "django_structlog",
    "ninja",
    "template_partials",
    "config",
    "batchjobs",
    "uploads",
    "exports",
    "audience",
    "accounts",
    "console",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "accounts.middleware.ActorMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context_processors.shell",
            ],
        },
    },
]

DATABASES = {"default": env.database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_CONNECT_SECONDS = 2  # a Redis that cannot be reached must not hold up requests
CACHES = {
    "default": {
        "BACKEND": "config.cache.SteadyRedisCache",
        "LOCATION": env.redis_url(),
        "OPTIONS": {"socket_connect_timeout": REDIS_CONNECT_SECONDS, "socket_timeout": REDIS_CONNECT_SECONDS},
    }
}

# Files go through aliases only, never through paths: S3 is a setting away.
STORAGES = {
    "default": env.file_storage(),
    "transfer_box": env.box_storage(),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "tmp"
FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
UPLOAD_MAX_BYTES = env.UPLOAD_MAX_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000  # an export with a thousand columns and a long filter
UPLOAD_PART_BYTES = env.UPLOAD_PART_BYTES
UPLOAD_STALL_SECONDS = env.UPLOAD_STALL_SECONDS
UPLOAD_KEPT_HOURS = env.UPLOAD_KEPT_HOURS
API_RATE_PER_MINUTE = env.API_RATE_PER_MINUTE
BATCH_MAX_BYTES = env.BATCH_MAX_BYTES
BATCH_LOCATION_SECONDS = env.BATCH_LOCATION_SECONDS

LANGUAGE_CODE = "en-gb"
LANGUAGES = [("en-gb", _("English"))]
LOCALE_PATHS = [BASE_DIR / "config" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# Signing in: by e-mail, through allauth, throttled by it.
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_PREVENT_ENUMERATION = True
ALLAUTH_TRUSTED_PROXY_COUNT = env.TRUSTED_PROXY_COUNT  # whose X-Forwarded-For the throttles believe
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # that mail would offer signing up
ACCOUNT_RATE_LIMITS = {
    # The person's limit stands first: once it is reached, further tries do not use up what is left for the
    # other people behind the same address.
    "login_failed": "5/5m/key,60/m/ip",
    "login": "600/m/ip",
    "reset_password": "5/h/key,60/h/ip",
}
# Without a mail server mails are printed into the log of the process that sends them.
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if env.EMAIL_HOST else 'console'}.EmailBackend"
EMAIL_HOST = env.EMAIL_HOST
EMAIL_PORT = env.EMAIL_PORT
EMAIL_HOST_USER = env.EMAIL_USER
EMAIL_HOST_PASSWORD = env.EMAIL_PASSWORD
EMAIL_USE_TLS = env.EMAIL_SECURITY == "starttls"
EMAIL_USE_SSL = env.EMAIL_SECURITY == "tls"
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = env.EMAIL_FROM

# Security. Cookies and transport follow the scheme of BASE_URL.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME = "batchdesk_session"
CSRF_COOKIE_NAME = "batchdesk_csrf"
CSRF_FAILURE_VIEW = "console.views.csrf_failure"
CSRF_TRUSTED_ORIGINS = [BASE_URL] if HTTPS else []
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # load balancers ask over plain http
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

CELERY_BROKER_URL = env.broker_url()
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": REDIS_CONNECT_SECONDS,
    "max_retries": 0,  # of a ring, which the sweep makes up for; workers and beat try again for ever all the same
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "short"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# A worker with a task in hand sleeps that long, also if the task ends before: jobs are handed over within a block.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 4.0
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "run" / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "batchjobs.tasks.jobs_sweep",
        "schedule": env.JOB_SWEEP_SECONDS,
        "options": {"expires": env.JOB_SWEEP_SECONDS * 3},  # or they pile up while no worker listens
    },
    "expiry": {"task": "batchjobs.tasks.expiry_schedule", "schedule": env.EXPIRY_EVERY_SECONDS},
    # Often: who is to be erased may wait for a job that is about to end, and looking costs next to nothing.
    "erasure": {"task": "batchjobs.tasks.erasure_schedule", "schedule": 60, "options": {"expires": 180}},
    "uploads": {"task": "batchjobs.tasks.uploads_sweep", "schedule": 3600},
    "exports": {
        "task": "exports.tasks.exports_tick",
        "schedule": env.EXPORTS_TICK_SECONDS,
        "options": {"expires": env.EXPORTS_TICK_SECONDS * 3},
    },
}

REGISTRY = "config.registry"
JOB_LEASE_SECONDS = env.JOB_LEASE_SECONDS
JOB_SWEEP_SECONDS = env.JOB_SWEEP_SECONDS
JOB_CHUNK_ROWS = env.JOB_CHUNK_ROWS
JOB_MAX_CRASHES = env.JOB_MAX_CRASHES
JOB_RUNNING_CAP = env.JOB_RUNNING_CAP
RECORD_MAX_BYTES = env.RECORD_MAX_BYTES
COLUMNS_MAX = env.COLUMNS_MAX
NESTING_MAX = env.NESTING_MAX
UNPACKED_MAX_BYTES = env.UNPACKED_MAX_BYTES
UNPACKED_RATIO_MAX = env.UNPACKED_RATIO_MAX
FILES_KEPT_DAYS = env.FILES_KEPT_DAYS
ORPHANS_KEPT_HOURS = env.ORPHANS_KEPT_HOURS
BEFORE_IMAGES_KEPT_DAYS = env.BEFORE_IMAGES_KEPT_DAYS
TOMBSTONES_KEPT_DAYS = env.TOMBSTONES_KEPT_DAYS
IDEMPOTENCY_KEPT_DAYS = env.IDEMPOTENCY_KEPT_DAYS
CRASHES_KEPT_DAYS = env.CRASHES_KEPT_DAYS
HOUSEKEEPING_KEPT_DAYS = env.HOUSEKEEPING_KEPT_DAYS
EXPIRY_EVERY_SECONDS = env.EXPIRY_EVERY_SECONDS
ARTIFACTS_KEPT_DAYS = env.ARTIFACTS_KEPT_DAYS
TRANSFER_BOX_KEPT_DAYS = env.TRANSFER_BOX_KEPT_DAYS
EXPORT_QUERY_SECONDS = env.EXPORT_QUERY_SECONDS
METRICS_TOKEN = env.METRICS_TOKEN

configure_structlog(env.LOG_LEVEL)
