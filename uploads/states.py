"""The states of a batch upload, and where each comes from.

Only `corrupted` is stored with the upload: all others follow from the location, the file and the job behind it
(`models.BatchUploadQuerySet.with_state`), so nothing can contradict the job.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    UPLOADING = "uploading", _("Uploading")  # allocated; the file has not arrived
    FILE_UPLOADED = "file_uploaded", _("File uploaded")  # arrived as declared; its job waits
    PROCESSING = "processing", _("Processing")  # its job runs
    SUCCESS = "success", _("Success")  # every record was processed
    CORRUPTED = "corrupted", _("Corrupted")  # other bytes arrived than were declared; never tried again
    ERROR = "error", _("Error")  # at least one record was not processed, or the file could not be read


OPEN = frozenset({State.UPLOADING, State.FILE_UPLOADED, State.PROCESSING})
