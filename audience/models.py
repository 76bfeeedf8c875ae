"""Whose data it is, and what they did. Bulk writes are SQL in `services.py`."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.indexes import BrinIndex
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import functions
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from accounts.tenancy import TenantManager, TenantQuerySet
from audience.fields import KeySha256, change_xid
from audience.tables import columns_check


class Database(models.Model):
    """A set of profiles in which an e-mail address stands once."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="databases")
    name = models.CharField(_("name"), max_length=120)
    slug = models.SlugField(_("slug"), max_length=60)
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    # Raised by a trigger whenever profiles are deleted, so that a load that remembers their ids looks again. Who
    # deletes people deletes the profiles first: that waits for loads under way, and then sees what they wrote.
    removals = models.BigIntegerField(default=0, db_default=0, editable=False)

    objects = TenantManager["Database"]()

    class Meta:
        verbose_name = _("database")
        verbose_name_plural = _("databases")
        constraints = [models.UniqueConstraint(fields=["account", "slug"], name="database_slug_once")]

    def __str__(self) -> str:
        return self.name


class ProfileQuerySet(TenantQuerySet["Profile"]):
    def suppressed(self, channel: str) -> Self:
        """Those who must not be written to on the channel. Each is looked up by three keys, through indexes."""
        return self.filter(is_suppressed(channel))

    def reachable(self, channel: str) -> Self:
        """The others."""
        return self.exclude(is_suppressed(channel))


def is_suppressed(channel: str) -> models.Q:
    """Of a profile in a query."""
    keys = {
        "email_sha256": KeySha256(models.OuterRef("email")),
        "email_md5": functions.MD5(models.OuterRef("email")),
        "partner_user_id": models.OuterRef("partner_user_id"),
    }
    rows = Suppression.objects.filter(database=models.OuterRef("database"), channel=channel)
    condition = models.Q()
    for key, value in keys.items():
        condition |= models.Q(models.Exists(rows.filter(**{key: value})))
    return condition


class ProfileManager(TenantManager["Profile"]):
    def get_queryset(self) -> ProfileQuerySet:
        return ProfileQuerySet(self.model, using=self._db)

    def suppressed(self, channel: str) -> ProfileQuerySet:
        return self.get_queryset().suppressed(channel)


class Profile(models.Model):
    """A person known by e-mail address, by the partner's own number, or both.

    `attributes` is a flat object, of texts unless they came as JSON. E-mail addresses are stored in lower case.
    """

    database = models.ForeignKey(Database, models.CASCADE, related_name="profiles", db_index=False)
    email = models.TextField(_("e-mail"), null=True, db_collation="C")  # noqa: DJ001  unique, and blank is not unknown
    partner_user_id = models.TextField(_("partner user id"), null=True, db_collation="C")  # noqa: DJ001  likewise
    attributes = models.JSONField(_("attributes"), default=dict, db_default=models.Value({}, models.JSONField()))
    created_by_job = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    change_xid = change_xid()

    objects = ProfileManager()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("profile")
        verbose_name_plural = _("profiles")
        constraints = [
            models.UniqueConstraint(fields=["database", "email"], name="profile_email_once"),
            models.UniqueConstraint(
                fields=["database", "partner_user_id"],
                condition=models.Q(partner_user_id__isnull=False),
                name="profile_partner_once",
            ),
            models.CheckConstraint(
                condition=models.Q(email__isnull=False) | models.Q(partner_user_id__isnull=False),
                name="profile_has_identity",
            ),
        ]
        indexes = [
            # Page by page: what changes is all over the table (docs/performance.md).
            BrinIndex(fields=["change_xid"], pages_per_range=1, name="profile_change"),
            # Who a row of another table is about, without the pages of the people themselves.
            models.Index(fields=["id"], include=["email", "partner_user_id"], name="profile_identity"),
        ]

    def __str__(self) -> str:
        return self.email or self.partner_user_id or str(self.pk)


class Interaction(models.Model):
    """Something a person did. No foreign-key checks: they would cost a look-up a row (docs/decisions/0004)."""

    database = models.ForeignKey(Database, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False)
    profile = models.ForeignKey(
        Profile, models.DO_NOTHING, related_name="interactions", db_index=False, db_constraint=False
    )
    kind = models.TextField(_("event name"))
    occurred_at = models.DateTimeField(_("occurred at"))
    external_id = models.TextField(_("partner event id"), null=True, db_collation="C")  # noqa: DJ001  unique if there
    properties = models.JSONField(_("properties"), default=dict, db_default=models.Value({}, models.JSONField()))
    created_by_job = models.BigIntegerField(editable=False)
    row_no = models.BigIntegerField(editable=False)  # the physical line of the job's file
    change_xid = change_xid()
    # What was decided on it ("approve" files). Unknown is not blank.
    decision = models.TextField(_("decision"), null=True)  # noqa: DJ001
    decision_note = models.TextField(_("note"), null=True)  # noqa: DJ001
    decided_at = models.DateTimeField(_("decided at"), null=True)

    objects = TenantManager["Interaction"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("interaction")
        verbose_name_plural = _("interactions")
        # Exactly these: each was measured (docs/performance.md).
        constraints = [
            models.UniqueConstraint(
                fields=["database", "external_id"],
                condition=models.Q(external_id__isnull=False),
                name="interaction_external_once",
            )
        ]
        indexes = [
            models.Index(fields=["profile", "occurred_at"], name="interaction_timeline"),
            BrinIndex(fields=["change_xid", "created_by_job"], pages_per_range=32, name="interaction_change"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.external_id or self.pk}"


class ContactList(models.Model):
    """A named list of people. One that a file names is made when it is not there yet."""

    database = models.ForeignKey(Database, models.CASCADE, related_name="lists", db_index=False)
    name = models.CharField(_("name"), max_length=120)
    created_by_job = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    objects = TenantManager["ContactList"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("list")
        verbose_name_plural = _("lists")
        constraints = [models.UniqueConstraint(fields=["database", "name"], name="list_name_once")]

    def __str__(self) -> str:
        return self.name


class ListMember(models.Model):
    """That a person is on a list, and since when."""

    contact_list = models.ForeignKey(ContactList, models.CASCADE, related_name="members", db_index=False)
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="memberships")
    joined_at = models.DateTimeField(_("joined at"), db_default=Now())
    created_by_job = models.BigIntegerField(null=True, editable=False)
    change_xid = change_xid()

    objects = TenantManager["ListMember"]()
    tenant_path = "contact_list__database__account"

    class Meta:
        verbose_name = _("list member")
        verbose_name_plural = _("list members")
        constraints = [models.UniqueConstraint(fields=["contact_list", "profile"], name="list_member_once")]

    def __str__(self) -> str:
        return f"{self.profile_id} on {self.contact_list_id}"


CHANNELS = ("email", "phone", "post", "push", "sms")


class Suppression(models.Model):
    """Somebody who must not be written to on a channel, known by any of three keys.

    Kept by the hash of the address, so that it outlives the profile and may come before it: whoever asks, asks from
    the person's side with all three keys (`services.suppressed`). Nothing that is imported takes one away.
    """

    database = models.ForeignKey(Database, models.CASCADE, related_name="suppressions", db_index=False)
    channel = models.CharField(_("channel"), max_length=20, default="email")
    email_sha256 = models.CharField(_("SHA-256 of the address"), max_length=64, null=True)  # noqa: DJ001  unique if there
    email_md5 = models.CharField(_("MD5 of the address"), max_length=32, null=True)  # noqa: DJ001  likewise
    partner_user_id = models.TextField(_("partner user id"), null=True, db_collation="C")  # noqa: DJ001  likewise
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    opted_out_at = models.DateTimeField(_("opted out at"), db_default=Now())
    created_by_job = models.BigIntegerField(null=True, editable=False)
    change_xid = change_xid()

    objects = TenantManager["Suppression"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressions")
        constraints = [
            *(
                models.UniqueConstraint(
                    fields=["database", "channel", key],
                    condition=models.Q(**{f"{key}__isnull": False}),
                    name=f"suppression_{short}_once",
                )
                for key, short in (("email_sha256", "sha256"), ("email_md5", "md5"), ("partner_user_id", "partner"))
            ),
            models.CheckConstraint(
                condition=models.Q(email_sha256__isnull=False)
                | models.Q(email_md5__isnull=False)
                | models.Q(partner_user_id__isnull=False),
                name="suppression_has_key",
            ),
        ]

    def __str__(self) -> str:
        key = self.email_sha256 or self.email_md5 or self.partner_user_id or ""
        return f"{self.channel} {key[:12]}"


class Reference(models.Model):
    """What a program of the customer's own calls something: a UUID of its making, for a guest, an order or a tracking
    record. Of orders and tracking records, `ref` is the interaction's `external_id` too.

    One without a profile stands for what a record removed, or found gone: it only tells its job that it was there.
    """

    class Schema(models.TextChoices):
        GUEST = "guest", _("Guest")
        ORDER = "order", _("Order")
        TRACKING = "tracking", _("Tracking")

    database = models.ForeignKey(Database, models.CASCADE, related_name="+", db_index=False)
    schema = models.CharField(_("schema"), max_length=10, choices=Schema.choices)
    ref = models.UUIDField(_("reference"))
    profile = models.ForeignKey(Profile, models.CASCADE, null=True, related_name="references")
    # The job and the line that wrote it last: a reference that comes twice in one file is told by them.
    job = models.BigIntegerField()
    row_no = models.BigIntegerField()

    objects = TenantManager["Reference"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("reference")
        verbose_name_plural = _("references")
        constraints = [models.UniqueConstraint(fields=["database", "schema", "ref"], name="reference_once")]

    def __str__(self) -> str:
        return f"{self.schema} {self.ref}"


class DataTable(models.Model):
    """A table of the account's own beside its profiles: rows of people ("linked"), or of anything ("repository").

    `columns` is a list of {"name", "type"} (audience/tables.py). Rows with the same value in the column `key` are one.
    """

    class Kind(models.TextChoices):
        LINKED = "linked", _("Linked data")
        REPOSITORY = "repository", _("Repository")

    database = models.ForeignKey(Database, models.CASCADE, related_name="tables", db_index=False)
    name = models.CharField(_("name"), max_length=120)
    slug = models.SlugField(_("slug"), max_length=60)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    columns = models.JSONField(_("columns"), default=list, blank=True)
    key = models.CharField(_("key column"), max_length=120, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    objects = TenantManager["DataTable"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("table")
        verbose_name_plural = _("tables")
        constraints = [
            models.UniqueConstraint(fields=["database", "slug"], name="table_slug_once"),
            models.CheckConstraint(condition=models.Q(kind__in=["linked", "repository"]), name="table_kind_known"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        try:
            columns_check(self.columns)
        except ValidationError as error:
            raise ValidationError({"columns": error}) from error
        if self.key and self.key not in {column["name"] for column in self.columns}:
            raise ValidationError({"key": _("There is no column of this name.")})


class Record(models.Model):
    """A row of a table. `values` is a flat object by column; a number is a JSON number, dates are ISO texts."""

    table = models.ForeignKey(DataTable, models.CASCADE, related_name="records")
    key = models.TextField(_("key"), null=True, db_collation="C")  # noqa: DJ001  unique if there
    profile = models.ForeignKey(Profile, models.CASCADE, null=True, related_name="records")
    values = models.JSONField(_("values"), default=dict, db_default=models.Value({}, models.JSONField()))
    created_by_job = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    change_xid = change_xid()

    objects = TenantManager["Record"]()
    tenant_path = "table__database__account"

    class Meta:
        verbose_name = _("record")
        verbose_name_plural = _("records")
        constraints = [
            models.UniqueConstraint(
                fields=["table", "key"], condition=models.Q(key__isnull=False), name="record_key_once"
            ),
        ]
        indexes = [BrinIndex(fields=["change_xid"], pages_per_range=1, name="record_change")]

    def __str__(self) -> str:
        return f"{self.table_id} {self.key or self.pk}"


class Segment(models.Model):
    """A filter under a name, for the exports of a database: {"and"|"or": [{field, op, value}, …]}."""

    database = models.ForeignKey(Database, models.CASCADE, related_name="segments", db_index=False)
    name = models.CharField(_("name"), max_length=120)
    data_type = models.CharField(_("data type"), max_length=30, default="profile")
    filter = models.JSONField(_("filter"), default=dict)
    created_by = models.CharField(_("created by"), max_length=254, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    objects = TenantManager["Segment"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        constraints = [models.UniqueConstraint(fields=["database", "name"], name="segment_name_once")]

    def __str__(self) -> str:
        return self.name


class Tombstone(models.Model):
    """That a row was deleted, for exports that tell what is gone. Triggers write it, whoever deletes.

    `part` is what narrows the rows of a kind: the event name, the channel, the number of the list or table. Of what
    the row was known by only a hash stays, so that nobody who was erased is named. A profile whose address changed
    leaves one too, with the hash of the former.
    """

    class Kind(models.TextChoices):
        PROFILE = "profile", _("Profile")
        INTERACTION = "interaction", _("Interaction")
        LIST_MEMBER = "list_member", _("List member")
        SUPPRESSION = "suppression", _("Suppression")
        RECORD = "record", _("Record")

    # The database's own foreign key removes them with the database: Django's order would leave some behind.
    database = models.ForeignKey(Database, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    part = models.TextField(_("part"), blank=True)
    row_id = models.BigIntegerField(_("number of the row"))
    key_sha256 = models.CharField(_("SHA-256 of the key"), max_length=64, null=True)  # noqa: DJ001  a row may have none
    change_xid = change_xid()
    deleted_at = models.DateTimeField(_("deleted at"), db_default=Now())

    objects = TenantManager["Tombstone"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")
        indexes = [models.Index(fields=["database", "kind", "change_xid", "row_id"], name="tombstone_window")]

    def __str__(self) -> str:
        return f"{self.kind} {self.row_id}"


class Erasure(models.Model):
    """That a person is to be erased, or was. What stays are hashes: by them nothing that is imported brings the person
    back. The keys themselves are there only until it is done, to find what is to go.
    """

    database = models.ForeignKey(Database, models.CASCADE, related_name="erasures", db_index=False)
    profile_id = models.BigIntegerField(null=True, editable=False)
    email = models.TextField(_("e-mail"), null=True, db_collation="C")  # noqa: DJ001  unknown is not blank
    partner_user_id = models.TextField(_("partner user id"), null=True, db_collation="C")  # noqa: DJ001  likewise
    email_sha256 = models.CharField(_("SHA-256 of the address"), max_length=64, null=True)  # noqa: DJ001  likewise
    partner_sha256 = models.CharField(_("SHA-256 of the partner user id"), max_length=64, null=True)  # noqa: DJ001
    requested_by = models.CharField(_("requested by"), max_length=254)
    requested_at = models.DateTimeField(_("requested at"), db_default=Now())
    # From when on all keys stood here: whatever starts later refuses the person, what started before has to end first.
    known_at = models.DateTimeField(null=True, editable=False)
    erased_at = models.DateTimeField(_("erased at"), null=True)

    objects = TenantManager["Erasure"]()
    tenant_path = "database__account"

    class Meta:
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        indexes = [
            models.Index(fields=["database"], condition=models.Q(erased_at__isnull=True), name="erasure_pending"),
            models.Index(fields=["database", "email_sha256"], name="erasure_email"),
            models.Index(fields=["database", "partner_sha256"], name="erasure_partner"),
        ]

    def __str__(self) -> str:
        return f"erasure of {(self.email_sha256 or self.partner_sha256 or '')[:12]}"


class ProfileBeforeImage(models.Model):
    """What a profile held before a job changed it: the first image a job leaves is the one it is undone to."""

    job = models.BigIntegerField()
    profile_id = models.BigIntegerField()
    email = models.TextField(null=True)  # noqa: DJ001  as in Profile
    partner_user_id = models.TextField(null=True)  # noqa: DJ001  as in Profile
    attributes = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("before-image")
        verbose_name_plural = _("before-images")
        constraints = [models.UniqueConstraint(fields=["job", "profile_id"], name="before_image_first")]

    def __str__(self) -> str:
        return f"profile {self.profile_id} before job {self.job}"
