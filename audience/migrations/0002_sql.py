"""What the ORM cannot say: the change mark's trigger, room for updates in place, and merging of attributes."""

from django.db import migrations

TRIGGER = """
CREATE FUNCTION batchdesk_mark_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.change_xid := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
CREATE TRIGGER mark_change BEFORE UPDATE ON audience_profile FOR EACH ROW EXECUTE FUNCTION batchdesk_mark_change();
CREATE TRIGGER mark_change BEFORE UPDATE ON audience_interaction FOR EACH ROW EXECUTE FUNCTION batchdesk_mark_change();
CREATE TRIGGER mark_change BEFORE UPDATE ON audience_suppression FOR EACH ROW EXECUTE FUNCTION batchdesk_mark_change();
CREATE FUNCTION batchdesk_count_removals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE audience_database SET removals = removals + 1 WHERE id IN (SELECT database_id FROM removed);
    RETURN NULL;
END $$;
CREATE TRIGGER count_removals AFTER DELETE ON audience_profile REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION batchdesk_count_removals();
ALTER TABLE audience_profile SET (fillfactor = 85);
CREATE AGGREGATE batchdesk_jsonb_merge(jsonb) (sfunc = jsonb_concat, stype = jsonb, initcond = '{}');
"""

UNDO = """
DROP AGGREGATE batchdesk_jsonb_merge(jsonb);
ALTER TABLE audience_profile RESET (fillfactor);
DROP FUNCTION batchdesk_count_removals() CASCADE;
DROP FUNCTION batchdesk_mark_change() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [("audience", "0001_initial")]
    operations = [migrations.RunSQL(TRIGGER, UNDO)]
