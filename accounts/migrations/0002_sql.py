"""The audit log only grows: the database itself refuses to change or delete an event."""

from django.db import migrations

TRIGGER = """
CREATE FUNCTION batchdesk_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The table % only grows: no row is changed or deleted.', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION batchdesk_append_only();
"""

UNDO = "DROP FUNCTION batchdesk_append_only() CASCADE;"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunSQL(TRIGGER, UNDO)]
