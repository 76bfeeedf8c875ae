"""Celery: the doorbell. Messages name a queue to look at and carry no data (docs/architecture.md)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("batchdesk")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
