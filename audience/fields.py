"""Database expressions shared by the audience tables."""

from django.db import models


class CurrentXid(models.Func):
    """The id of the current transaction as bigint: xid8 has no BRIN operator class."""

    template = "(pg_current_xact_id()::text::bigint)"
    output_field = models.BigIntegerField()
    allowed_default = True


class KeySha256(models.Func):
    """SHA-256 of a key in hexadecimal, as audience.erasures.key_hash: Django's SHA256 needs pgcrypto."""

    template = "encode(sha256(convert_to(%(expressions)s, 'UTF8')), 'hex')"
    output_field = models.TextField()


def change_xid() -> "models.BigIntegerField[int, int]":
    """The transaction that last wrote the row. A trigger sets it again on every update.

    Incremental exports take `lo <= change_xid < hi`, where `hi` is the snapshot's xmin.
    """
    return models.BigIntegerField(db_default=CurrentXid(), editable=False)
