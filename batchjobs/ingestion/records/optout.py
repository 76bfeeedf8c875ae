"""Opt-outs: who must not be written to any more. Known by address, by a hash of it, or by the partner's number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from django.utils.translation import gettext_lazy as _

from audience.models import CHANNELS
from batchjobs.ingestion.copytext import copy_texts
from batchjobs.ingestion.records.base import EMAIL, PARTNER_USER_ID, Checker, RecordType, Values
from batchjobs.ingestion.records.columns import Column, Kind
from batchjobs.ingestion.records.table import Table
from batchjobs.ingestion.writing.suppressions import SuppressionWriter

SPELLINGS = {
    **{channel: channel for channel in CHANNELS},
    "": "email",
    "e-mail": "email",
    "mail": "email",
    "text": "sms",
}


class OptoutChecker(Checker):
    columns = (
        Column(
            "email",
            _("E-mail address of the person, or its MD5 or SHA-256 (of the address in lower case)."),
            "ines.prata@example.com",
            (*EMAIL.aliases, "email_hash", "hash"),
            Kind.EMAIL_OR_HASH,
            wrong="ines.prata@example",
        ),
        Column("email_md5", _("MD5 of the address."), "5ec2f2d0b2a6b5d5a8fbb1c1b5b3c9f0", ("md5",), Kind.MD5),
        Column(
            "email_sha256",
            _("SHA-256 of the address."),
            "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b",
            ("sha256",),
            Kind.SHA256,
        ),
        PARTNER_USER_ID,
        Column(
            "channel",
            _("What is not wanted: email (if left out), sms, push, phone or post."),
            "email",
            (),
            Kind.CHOICE,
            choices=SPELLINGS,
            wrong="pigeon",
        ),
        Column("reason", _("Why."), "Too many messages", ("comment", "unsubscribe_reason")),
        Column(
            "opted_out_at",
            _("When. Left out: when the file is run."),
            "2026-11-21",
            ("timestamp", "unsubscribed_at", "optout_time", "opt_out_date", "date", "unsub_date"),
            Kind.TIME,
        ),
    )
    identity = ("email", "email_md5", "email_sha256", "partner_user_id")
    personal = ("partner_user_id",)  # kept as it is; of an address only hashes are

    def stage(self, table: Table, kept: Values, lines: list[int]) -> list[Iterable[str]]:
        blank = [""] * len(lines)
        sha256 = list(kept.get("email_sha256", blank))
        # Whether two hashes of a file belong together is not known: one is enough.
        md5 = ["" if strong else weak for strong, weak in zip(sha256, kept.get("email_md5", blank), strict=True)]
        for at, value in enumerate(kept.get("email", blank)):
            if "@" in value:
                address = value.encode()
                sha256[at], md5[at] = hashlib.sha256(address).hexdigest(), hashlib.md5(address).hexdigest()  # noqa: S324
            elif len(value) == 64:
                sha256[at] = value
                md5[at] = ""
            elif value and not sha256[at]:
                md5[at] = value
        times = kept.get("opted_out_at", blank)
        return [
            map(str, lines),
            copy_texts(sha256),
            copy_texts(md5),
            copy_texts(kept.get("partner_user_id", blank)),
            [channel or "email" for channel in kept.get("channel", blank)],
            [reason if reason != "\\N" else "" for reason in copy_texts(kept.get("reason", blank))],
            [time or self.context.default_time for time in times],
            ["t" if time else "f" for time in times],
        ]


OPTOUT = RecordType(
    OptoutChecker,
    SuppressionWriter,
    title=_("Opt-outs"),
    help=_("One person in each row who must not be written to. It holds also for people who come in later."),
    others=_("Other columns are not kept."),
    keeps_others=False,
)
