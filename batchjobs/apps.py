from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class BatchjobsConfig(AppConfig):
    name = "batchjobs"
    verbose_name = _("Batch jobs")
