"""What the modes of batch records do to stored objects, and references that outlive what they stood for."""

import django.db.models.deletion
from django.db import migrations, models

FUNCTIONS = """
-- What makes an element of these lists the same one again, as JSON.
CREATE FUNCTION batchdesk_element_key(list text, element jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE list
        WHEN 'extensions' THEN jsonb_build_array(element -> 'name', element -> 'key')
        WHEN 'identifiers' THEN jsonb_build_array(element -> 'provider')
        ELSE jsonb_build_array(element -> 'name', element -> 'channel', element -> 'pointOfSale') END
$$;
-- Objects are merged by key, and a null removes its key. Other values, lists too, are replaced, but for the lists above
-- at the top, whose elements are merged.
CREATE FUNCTION batchdesk_merge(old jsonb, new jsonb, is_top boolean) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    merged jsonb := CASE WHEN jsonb_typeof(old) = 'object' THEN old ELSE '{}' END;
    pair record;
    was jsonb;
BEGIN
    IF jsonb_typeof(new) <> 'object' THEN
        RETURN new;
    END IF;
    FOR pair IN SELECT key, value FROM jsonb_each(new) LOOP
        was := merged -> pair.key;
        IF pair.value = 'null' THEN
            merged := merged - pair.key;
        ELSIF jsonb_typeof(pair.value) = 'object' THEN
            merged := merged || jsonb_build_object(pair.key, batchdesk_merge(was, pair.value, false));
        ELSIF is_top AND pair.key IN ('extensions', 'identifiers', 'subscriptions')
              AND jsonb_typeof(was) = 'array' AND jsonb_typeof(pair.value) = 'array' THEN
            SELECT merged || jsonb_build_object(pair.key, coalesce(jsonb_agg(element ORDER BY n), '[]')) INTO merged
            FROM (SELECT CASE WHEN n.element IS NULL THEN o.element
                              ELSE batchdesk_merge(o.element, n.element, false) END AS element,
                         coalesce(o.n, n.n + jsonb_array_length(was)) AS n
                  FROM (SELECT batchdesk_element_key(pair.key, element) AS key, element, n
                        FROM jsonb_array_elements(was) WITH ORDINALITY o(element, n)) o
                  FULL JOIN (SELECT DISTINCT ON (key) key, element, n FROM (
                                 SELECT batchdesk_element_key(pair.key, element) AS key, element, n
                                 FROM jsonb_array_elements(pair.value) WITH ORDINALITY n(element, n)) n
                             ORDER BY key, n DESC) n ON n.key = o.key) elements;
        ELSE
            merged := merged || jsonb_build_object(pair.key, pair.value);
        END IF;
    END LOOP;
    RETURN merged;
END $$;
-- What a record makes of the object that is stored: `given` is its values, `removed` the names of those that are null.
CREATE FUNCTION batchdesk_record_apply(old jsonb, mode text, given jsonb, removed text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE mode
        WHEN 'insert' THEN given
        WHEN 'merge' THEN batchdesk_merge(coalesce(old, '{}'), given, true) - removed
        ELSE (coalesce(old, '{}') || given) - removed END
$$;
CREATE FUNCTION batchdesk_record_next(state jsonb, stored jsonb, mode text, given jsonb, removed text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT batchdesk_record_apply(coalesce(state, stored), mode, given, removed)
$$;
-- What several records make of one object, one after the other; `stored` is the same in all.
CREATE AGGREGATE batchdesk_records_apply(stored jsonb, mode text, given jsonb, removed text[]) (
    sfunc = batchdesk_record_next, stype = jsonb
);
"""

UNDO = """
DROP AGGREGATE batchdesk_records_apply(jsonb, text, jsonb, text[]);
DROP FUNCTION batchdesk_record_next(jsonb, jsonb, text, jsonb, text[]);
DROP FUNCTION batchdesk_record_apply(jsonb, text, jsonb, text[]);
DROP FUNCTION batchdesk_merge(jsonb, jsonb, boolean);
DROP FUNCTION batchdesk_element_key(text, jsonb);
"""


class Migration(migrations.Migration):
    dependencies = [("audience", "0005_erasure_known_at")]
    operations = [
        migrations.AlterField(
            model_name="reference",
            name="profile",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="references",
                to="audience.profile",
            ),
        ),
        migrations.RunSQL(FUNCTIONS, UNDO),
    ]
