"""Settings, URLs, Celery, entry points, and the registry that joins the apps."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
