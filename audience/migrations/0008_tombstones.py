"""Tombstones of deleted rows, written by triggers: whoever deletes, none is missing."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import audience.fields

# One statement of many rows is one insert. People go before what refers to them (audience.models.Database), so a list
# member finds its person's key in the tombstone of the same transaction. Whoever changes the address of a profile
# leaves one too: under the former key nobody is left.
TRIGGERS = """
ALTER TABLE audience_tombstone
    ADD FOREIGN KEY (database_id) REFERENCES audience_database ON DELETE CASCADE;

CREATE FUNCTION batchdesk_key_sha256(key text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT encode(sha256(convert_to(key, 'UTF8')), 'hex')
$$;

CREATE FUNCTION batchdesk_bury_profiles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audience_tombstone (database_id, kind, part, row_id, key_sha256)
    SELECT database_id, 'profile', '', id, batchdesk_key_sha256(coalesce(email, partner_user_id)) FROM removed;
    RETURN NULL;
END $$;
CREATE TRIGGER bury AFTER DELETE ON audience_profile REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION batchdesk_bury_profiles();

CREATE FUNCTION batchdesk_bury_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audience_tombstone (database_id, kind, part, row_id, key_sha256)
    VALUES (OLD.database_id, 'profile', '', OLD.id, batchdesk_key_sha256(coalesce(OLD.email, OLD.partner_user_id)));
    RETURN NULL;
END $$;
CREATE TRIGGER bury_key AFTER UPDATE OF email, partner_user_id ON audience_profile FOR EACH ROW
    WHEN (coalesce(OLD.email, OLD.partner_user_id) IS DISTINCT FROM coalesce(NEW.email, NEW.partner_user_id))
    EXECUTE FUNCTION batchdesk_bury_key();

CREATE FUNCTION batchdesk_bury_interactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audience_tombstone (database_id, kind, part, row_id, key_sha256)
    SELECT database_id, 'interaction', kind, id, batchdesk_key_sha256(external_id) FROM removed;
    RETURN NULL;
END $$;
CREATE TRIGGER bury AFTER DELETE ON audience_interaction REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION batchdesk_bury_interactions();

CREATE FUNCTION batchdesk_bury_list_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audience_tombstone (database_id, kind, part, row_id, key_sha256)
    SELECT l.database_id, 'list_member', l.id::text, m.id, coalesce(
        (SELECT batchdesk_key_sha256(coalesce(p.email, p.partner_user_id))
         FROM audience_profile p WHERE p.id = m.profile_id),
        (SELECT t.key_sha256 FROM audience_tombstone t
         WHERE t.database_id = l.database_id AND t.kind = 'profile' AND t.row_id = m.profile_id
           AND t.change_xid = pg_current_xact_id()::text::bigint
         ORDER BY t.id DESC LIMIT 1))
    FROM removed m JOIN audience_contactlist l ON l.id = m.contact_list_id;
    RETURN NULL;
END $$;
CREATE TRIGGER bury AFTER DELETE ON audience_listmember REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION batchdesk_bury_list_members();

CREATE FUNCTION batchdesk_bury_suppressions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audience_tombstone (database_id, kind, part, row_id, key_sha256)
    SELECT database_id, 'suppression', channel, id, coalesce(email_sha256, batchdesk_key_sha256(partner_user_id))
    FROM removed;
    RETURN NULL;
END $$;
CREATE TRIGGER bury AFTER DELETE ON audience_suppression REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION batchdesk_bury_suppressions();

CREATE FUNCTION batchdesk_bury_records() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audience_tombstone (database_id, kind, part, row_id, key_sha256)
    SELECT t.database_id, 'record', t.id::text, r.id, batchdesk_key_sha256(r.key)
    FROM removed r JOIN audience_datatable t ON t.id = r.table_id;
    RETURN NULL;
END $$;
CREATE TRIGGER bury AFTER DELETE ON audience_record REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION batchdesk_bury_records();
"""

UNDO = """
DROP FUNCTION batchdesk_bury_records() CASCADE;
DROP FUNCTION batchdesk_bury_suppressions() CASCADE;
DROP FUNCTION batchdesk_bury_list_members() CASCADE;
DROP FUNCTION batchdesk_bury_interactions() CASCADE;
DROP FUNCTION batchdesk_bury_key() CASCADE;
DROP FUNCTION batchdesk_bury_profiles() CASCADE;
DROP FUNCTION batchdesk_key_sha256(text);
"""


class Migration(migrations.Migration):
    dependencies = [("audience", "0007_tables_and_segments")]

    operations = [
        migrations.CreateModel(
            name="Tombstone",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("profile", "Profile"),
                            ("interaction", "Interaction"),
                            ("list_member", "List member"),
                            ("suppression", "Suppression"),
                            ("record", "Record"),
                        ],
                        max_length=20,
                        verbose_name="kind",
                    ),
                ),
                ("part", models.TextField(blank=True, verbose_name="part")),
                ("row_id", models.BigIntegerField(verbose_name="number of the row")),
                ("key_sha256", models.CharField(max_length=64, null=True, verbose_name="SHA-256 of the key")),
                ("change_xid", models.BigIntegerField(db_default=audience.fields.CurrentXid(), editable=False)),
                (
                    "deleted_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="deleted at"
                    ),
                ),
                (
                    "database",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="audience.database",
                    ),
                ),
            ],
            options={
                "verbose_name": "tombstone",
                "verbose_name_plural": "tombstones",
                "indexes": [models.Index(fields=["database", "kind", "change_xid", "row_id"], name="tombstone_window")],
            },
        ),
        migrations.RunSQL(TRIGGERS, UNDO),
    ]
