"""Celery: the doorbell. Messages name a queue to look at and carry no data (docs/architecture.md)."""

import os

from celery import Celery
from celery.signals import worker_process_init

from config.lifeline import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("batchdesk")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def _end_with_the_worker(**kwargs: object) -> None:
    """A pool process whose worker was killed would go on unseen: it goes too, and the lease passes on."""
    die_with_parent()
