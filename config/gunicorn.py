"""Gunicorn's settings, for `manage.py up` and for production: `gunicorn -c config/gunicorn.py config.wsgi`.

Threads, because requests wait for the database and for slow uploads. With them `timeout` watches the worker's
main loop, not the requests: an upload may take hours.
"""

import os
from pathlib import Path
from typing import Any

from config.lifeline import die_with_parent

bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "8"))
timeout = 120
graceful_timeout = int(os.environ.get("WEB_GRACEFUL_SECONDS", "30"))
keepalive = 5
preload_app = True  # read the code once: the workers start at once and share its memory
control_socket_disable = True
accesslog = None
errorlog = "-"
if os.access("/dev/shm", os.W_OK):  # noqa: S108  the heartbeat file must not wait for a disk
    worker_tmp_dir = str(Path("/dev/shm"))  # noqa: S108


def post_fork(server: Any, worker: Any) -> None:
    """A worker whose master was killed has nobody to answer to."""
    die_with_parent(parent=worker.ppid)
