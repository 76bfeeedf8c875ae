"""Writes batch records: guests first, then orders and tracking records, each as its mode says, and their references.

The records of a chunk are staged in `records`; `stage` takes those whose people are to be found or made by what they
are known by, and then the opt-outs, so that people and suppressions are written as for any other file.

Guests that a chunk removes go before anything else is written. What the chunk says of them on earlier lines would go
with them, and counts as done; what it says on later lines is about a new person.
"""

# ruff: noqa: S608  no outside text is in the statements

from __future__ import annotations

from batchjobs.ingestion.writing.ledger import Merged, Session
from batchjobs.ingestion.writing.people import before_images, write_people
from batchjobs.ingestion.writing.profiles import ProfileWriter
from batchjobs.ingestion.writing.stage import OutdatedError, StagedWriter
from batchjobs.ingestion.writing.suppressions import SuppressionWriter, write_suppressions

FIELDS = {
    "row_no": "bigint",
    "schema": "text",
    "ref": "uuid",
    "mode": "text",
    "known": "boolean",  # it was there when the chunk was checked
    "guest": "uuid",  # whose an order or tracking record is
    "email": 'text COLLATE "C"',
    "partner_user_id": 'text COLLATE "C"',
    "partners": "text[]",  # all identifiers, where there are several
    "attributes": "jsonb",
    "removed": "text[]",
    "kind": "text",
    "occurred_at": "timestamptz",
    "optouts": "jsonb",
}
MAKE_RECORDS = f"""
    CREATE TEMP TABLE records ({", ".join(f"{name} {kind}" for name, kind in FIELDS.items())},
                               profile_id bigint, fresh boolean DEFAULT false) ON COMMIT DELETE ROWS
"""
MAKE_LEAVING = "CREATE TEMP TABLE leaving (profile_id bigint, row_no bigint) ON COMMIT DELETE ROWS"

# Profiles are not removed before the commit (audience.models.Database), but by this chunk itself.
LOCK = "SELECT FROM audience_database WHERE id = %(database)s FOR {}"
CONTENT = """
    SELECT count(*) FILTER (WHERE schema = 'guest' AND mode = 'delete' AND known),
           count(*) FILTER (WHERE schema <> 'guest'), count(*) FILTER (WHERE schema = 'guest' AND known),
           count(*) FILTER (WHERE mode = 'gdpr_delete'), count(optouts)
    FROM records
"""
_WRITES = "mode IN ('create', 'insert', 'upsert', 'merge')"
_GUESTS = f"r.schema = 'guest' AND r.{_WRITES}"
_INTERACTIONS = f"r.schema <> 'guest' AND r.{_WRITES}"
_BY_REF = """(SELECT x.profile_id FROM audience_reference x
    WHERE x.database_id = %(database)s AND x.schema = {} AND x.ref = r.{})"""
BY_OWN_REF, BY_GUEST_REF = _BY_REF.format("'guest'", "ref"), _BY_REF.format("'guest'", "guest")
BY_EMAIL = "(SELECT p.id FROM audience_profile p WHERE p.database_id = %(database)s AND p.email = r.email)"
BY_PARTNER = """(SELECT p.id FROM audience_profile p
    WHERE p.database_id = %(database)s AND p.partner_user_id = r.partner_user_id)"""
INTERACTION = """(SELECT i.id FROM audience_interaction i
    WHERE i.database_id = %(database)s AND i.external_id = r.ref::text COLLATE "C")"""
# By what a guest is known: the e-mail address decides.
BY_IDENTITY = f"CASE WHEN r.email IS NOT NULL THEN {BY_EMAIL} ELSE {BY_PARTNER} END"
OUTDATED = f"""
    SELECT count(*) FROM records r
    WHERE known <> (CASE WHEN schema = 'guest' THEN {BY_OWN_REF} ELSE {INTERACTION} END IS NOT NULL)
"""
# Of several identifiers the first that is known finds a guest without an address.
CHOOSE_PARTNERS = """
    UPDATE records r SET partner_user_id = found.partner
    FROM (SELECT row_no, (SELECT k.partner FROM (
              SELECT u.partner, u.n, (SELECT p.id FROM audience_profile p
                  WHERE p.database_id = %(database)s AND p.partner_user_id = u.partner) AS id
              FROM unnest(partners) WITH ORDINALITY u(partner, n) OFFSET 0) k
              WHERE k.id IS NOT NULL ORDER BY k.n LIMIT 1) AS partner
          FROM records WHERE partners IS NOT NULL AND email IS NULL OFFSET 0) found
    WHERE r.row_no = found.row_no AND found.partner IS NOT NULL
"""

# Guests that leave.
LEAVING = f"""
    INSERT INTO leaving SELECT {BY_OWN_REF}, min(row_no) FROM records r
    WHERE schema = 'guest' AND mode = 'delete' AND known GROUP BY 1
"""
LEAVE_WITH_THEM = f"""
    UPDATE records r SET mode = 'none' FROM (
        SELECT row_no, CASE WHEN r.schema = 'guest' AND r.known THEN {BY_OWN_REF} WHEN r.guest IS NOT NULL
                       THEN {BY_GUEST_REF} ELSE {BY_IDENTITY} END AS profile_id
        FROM records r WHERE {_WRITES} OFFSET 0) found
    JOIN leaving l ON l.profile_id = found.profile_id AND found.row_no < l.row_no
    WHERE r.row_no = found.row_no
"""
# Arrays, never joins: of a join the planner may take the wrong side first, if what it knows of the audience is old.
_LEAVING = "ANY (ARRAY(SELECT profile_id FROM leaving))"
REMOVE_GUESTS = (
    f"DELETE FROM audience_profile WHERE id = {_LEAVING}",
    f"DELETE FROM audience_interaction WHERE profile_id = {_LEAVING}",
    f"DELETE FROM audience_listmember WHERE profile_id = {_LEAVING}",
    f"DELETE FROM audience_record WHERE profile_id = {_LEAVING}",
    f"DELETE FROM audience_reference WHERE profile_id = {_LEAVING} AND job <> %(job)s",
    f"UPDATE audience_reference SET profile_id = NULL WHERE profile_id = {_LEAVING}",
    # Later lines about them: as if they had never been there.
    f"UPDATE records r SET known = false WHERE {_GUESTS} AND r.known AND {BY_OWN_REF} IS NULL",
    f"UPDATE records r SET known = false WHERE {_INTERACTIONS} AND r.known AND {INTERACTION} IS NULL",
    f"""UPDATE records r SET mode = 'none'
        WHERE {_GUESTS} AND NOT known AND num_nulls(email, partner_user_id) = 2""",
)

# Guests who are known by their reference: what else they are known by may change.
FIND_KNOWN = f"UPDATE records r SET profile_id = {BY_OWN_REF} WHERE {_GUESTS} AND known"
_EMAILS = f"""
    (SELECT DISTINCT ON (id) id, email FROM (
         SELECT r.profile_id AS id, r.email, r.row_no FROM records r
         WHERE {_GUESTS} AND r.known AND (r.email IS NOT NULL OR 'email' = ANY(r.removed)) OFFSET 0) k
     ORDER BY id, row_no DESC) w JOIN audience_profile p ON p.id = w.id
    WHERE w.email IS DISTINCT FROM p.email
"""
CHANGE_EMAILS = f"""
    UPDATE audience_profile o SET email = n.email, updated_at = clock_timestamp()
    FROM (SELECT w.id, w.email FROM {_EMAILS}) n
    WHERE o.id = n.id AND (n.email IS NOT NULL OR o.partner_user_id IS NOT NULL)
"""
# A partner's number is learned if nobody has it, and never moves.
_PARTNERS = f"""
    (SELECT DISTINCT ON (partner_user_id) id, partner_user_id FROM (
         SELECT DISTINCT ON (id) * FROM (
             SELECT r.profile_id AS id, r.partner_user_id, r.row_no, {BY_PARTNER} AS taken FROM records r
             WHERE {_GUESTS} AND r.known AND r.partner_user_id IS NOT NULL OFFSET 0) k
         WHERE taken IS NULL ORDER BY id, row_no) k
     ORDER BY partner_user_id, row_no) w JOIN audience_profile p ON p.id = w.id
    WHERE p.partner_user_id IS NULL
"""
LEARN_PARTNERS = f"""
    UPDATE audience_profile o SET partner_user_id = n.partner_user_id, updated_at = clock_timestamp()
    FROM (SELECT w.id, w.partner_user_id FROM {_PARTNERS}) n WHERE o.id = n.id
"""

# The others are found, or made, by what they are known by. Who is named once, and is new, is made in one go.
_TO_FIND = f"{_WRITES} AND guest IS NULL AND num_nulls(email, partner_user_id) < 2 AND NOT (schema = 'guest' AND known)"
CHOOSE_FRESH = f"""
    UPDATE records r SET profile_id = nextval('audience_profile_id_seq'), fresh = true
    FROM (SELECT row_no, schema = 'guest' AND coalesce({BY_EMAIL}, {BY_PARTNER}) IS NULL AS is_new,
                 email IS NULL OR row_number() OVER (PARTITION BY email ORDER BY row_no) = 1 AS is_first_of_email,
                 partner_user_id IS NULL
                 OR row_number() OVER (PARTITION BY partner_user_id ORDER BY row_no) = 1 AS is_first_of_partner
          FROM records r WHERE {_TO_FIND} OFFSET 0) f
    WHERE r.row_no = f.row_no AND f.is_new AND f.is_first_of_email AND f.is_first_of_partner
"""
MAKE_FRESH = """
    INSERT INTO audience_profile (id, database_id, email, partner_user_id, attributes, created_by_job)
    SELECT profile_id, %(database)s, email, partner_user_id,
           batchdesk_record_apply('{}', mode, attributes, removed), %(job)s
    FROM records WHERE fresh ORDER BY email, partner_user_id
"""
TO_FIND = f"""
    INSERT INTO stage (row_no, email, partner_user_id, attributes)
    SELECT row_no, email, partner_user_id, '{{}}' FROM records WHERE {_TO_FIND} AND NOT fresh
"""
FIND_GUESTS = f"""
    UPDATE records r SET profile_id = {BY_IDENTITY} WHERE {_GUESTS} AND NOT known AND NOT fresh
"""
# Only what differs is written. Whoever changes somebody meanwhile makes the count differ.
CHANGE_GUESTS = f"""
    WITH wanted AS MATERIALIZED (
        SELECT profile_id AS id, any_value(stored) AS stored,
               batchdesk_records_apply(stored, mode, attributes, removed ORDER BY row_no) AS attributes
        FROM (SELECT r.*, (SELECT p.attributes FROM audience_profile p WHERE p.id = r.profile_id) AS stored
              FROM records r WHERE {_GUESTS} AND NOT fresh OFFSET 0) r
        GROUP BY profile_id
    ), changing AS MATERIALIZED (
        SELECT * FROM wanted WHERE attributes IS DISTINCT FROM stored
    ), before AS ({before_images("changing c JOIN audience_profile p ON p.id = c.id WHERE true")} RETURNING 1
    ), changed AS (
        UPDATE audience_profile p SET attributes = c.attributes, updated_at = clock_timestamp()
        FROM changing c
        WHERE p.id = c.id AND p.attributes = c.stored AND (SELECT count(*) FROM before) >= 0  -- the images come first
        RETURNING 1
    ) SELECT (SELECT count(*) FROM changing), (SELECT count(*) FROM changed)
"""
REFER = """
    INSERT INTO audience_reference AS x (database_id, schema, ref, profile_id, job, row_no)
    SELECT %(database)s, schema, ref, profile_id, %(job)s, row_no FROM records r WHERE {} ORDER BY schema, ref
    ON CONFLICT (database_id, schema, ref) DO UPDATE
    SET profile_id = excluded.profile_id, job = excluded.job, row_no = excluded.row_no
"""
REFER_GUESTS, REFER_INTERACTIONS = REFER.format("schema = 'guest'"), REFER.format("schema <> 'guest'")

FIND_OWNERS = f"""
    UPDATE records r SET profile_id = CASE WHEN guest IS NOT NULL THEN {BY_GUEST_REF} ELSE {BY_IDENTITY} END
    WHERE {_INTERACTIONS} AND (guest IS NOT NULL OR num_nulls(email, partner_user_id) < 2)
"""
_OWNERLESS = f"""{_INTERACTIONS} AND profile_id IS NULL
    AND (guest IS NOT NULL OR num_nulls(email, partner_user_id) < 2 OR NOT known)
    OR {_INTERACTIONS} AND NOT known AND occurred_at IS NULL"""
OWNERLESS = f"SELECT count(*) FROM records r WHERE {_OWNERLESS}"
LEAVE_OWNERLESS = f"UPDATE records r SET mode = 'none' WHERE {_OWNERLESS}"
_CHANGED = f"""
    SELECT i.id, coalesce(r.profile_id, i.profile_id) AS profile_id, coalesce(r.kind, i.kind) AS kind,
           coalesce(r.occurred_at, i.occurred_at) AS occurred_at,
           batchdesk_record_apply(i.properties, r.mode, r.attributes, r.removed) AS properties
    FROM (SELECT r.*, {INTERACTION} AS id FROM records r WHERE {_INTERACTIONS} AND known OFFSET 0) r
    JOIN audience_interaction i ON i.id = r.id
"""
CHANGE_INTERACTIONS = f"""
    UPDATE audience_interaction i
    SET profile_id = c.profile_id, kind = c.kind, occurred_at = c.occurred_at, properties = c.properties
    FROM ({_CHANGED}) c
    WHERE i.id = c.id AND (i.profile_id, i.kind, i.occurred_at, i.properties)
                          IS DISTINCT FROM (c.profile_id, c.kind, c.occurred_at, c.properties)
"""
ADD_INTERACTIONS = f"""
    INSERT INTO audience_interaction
        (database_id, profile_id, kind, occurred_at, external_id, properties, created_by_job, row_no)
    SELECT %(database)s, profile_id, kind, occurred_at, ref::text,
           batchdesk_record_apply('{{}}', mode, attributes, removed), %(job)s, row_no
    FROM records r WHERE {_INTERACTIONS} AND NOT known ORDER BY row_no
"""
OWNERS_OF_KNOWN = f"""
    UPDATE records r SET profile_id = (SELECT i.profile_id FROM audience_interaction i WHERE i.id = {INTERACTION})
    WHERE {_INTERACTIONS} AND profile_id IS NULL
"""
REMOVE_INTERACTIONS = f"""
    DELETE FROM audience_interaction WHERE id = ANY (ARRAY(
        SELECT {INTERACTION} FROM records r WHERE schema <> 'guest' AND mode = 'delete'))
"""
FIND_TO_ERASE = f"""
    UPDATE records r SET profile_id = CASE WHEN r.known THEN {BY_OWN_REF} ELSE coalesce({BY_IDENTITY}, {BY_PARTNER}) END
    WHERE mode = 'gdpr_delete'
"""
ERASE = """
    INSERT INTO audience_erasure (database_id, profile_id, email, partner_user_id, email_sha256, partner_sha256,
                                  requested_by)
    SELECT %(database)s, profile_id, email, partner_user_id, encode(sha256(convert_to(email, 'UTF8')), 'hex'),
           encode(sha256(convert_to(partner_user_id, 'UTF8')), 'hex'), 'batch ' || ref
    FROM (SELECT r.ref, r.row_no, r.profile_id, coalesce(p.email, r.email) AS email,
                 coalesce(p.partner_user_id, r.partner_user_id) AS partner_user_id
          FROM records r LEFT JOIN audience_profile p ON p.id = r.profile_id WHERE r.mode = 'gdpr_delete') r
    WHERE num_nulls(email, partner_user_id) < 2 ORDER BY row_no
"""
OPT_OUTS = """
    INSERT INTO stage (row_no, email_sha256, email_md5, partner_user_id, channel, reason, opted_out_at, dated)
    SELECT r.row_no, encode(sha256(convert_to(p.email, 'UTF8')), 'hex'), md5(p.email), p.partner_user_id,
           o.channel, o.reason, o.opted_out_at, o.dated
    FROM (SELECT * FROM records WHERE optouts IS NOT NULL AND profile_id IS NOT NULL OFFSET 0) r
    JOIN audience_profile p ON p.id = r.profile_id
    CROSS JOIN jsonb_to_recordset(r.optouts) AS o(channel text, reason text, opted_out_at timestamptz, dated boolean)
"""


class RecordWriter(StagedWriter):
    fields = {**ProfileWriter.fields, **SuppressionWriter.fields}  # of the stage

    @property
    def copy(self) -> str:
        return f"COPY records ({', '.join(FIELDS)}) FROM STDIN"

    def prepare(self, session: Session) -> None:
        StagedWriter.prepare(self, session)
        session.execute(MAKE_RECORDS)
        session.execute(MAKE_LEAVING)

    def write(self, session: Session, merged: Merged) -> None:
        """Raises OutdatedError if what is stored is not as it was when the chunk was checked."""
        ids = self.plan.ids
        leaving, interactions, known, erased, optouts = session.execute(CONTENT).fetchone() or (0, 0, 0, 0, 0)
        session.execute(LOCK.format("NO KEY UPDATE" if leaving else "SHARE"), ids)
        self._refuse(session, OUTDATED)
        if leaving:
            session.execute(LEAVING, ids)
            session.execute(CHOOSE_PARTNERS, ids)
            session.execute(LEAVE_WITH_THEM, ids)
            for statement in REMOVE_GUESTS:
                session.execute(statement, ids)
        changed = self._change_identities(session) if known else 0
        session.execute(CHOOSE_PARTNERS, ids)
        made = 0
        if session.execute(CHOOSE_FRESH, ids).rowcount:
            made = session.execute(MAKE_FRESH, ids).rowcount
        session.execute(TO_FIND, ids)
        write_people(session, self.plan, merged)
        merged.new_profiles += made
        session.execute(FIND_GUESTS, ids)
        wanted, done = session.execute(CHANGE_GUESTS, ids).fetchone() or (0, 0)
        if wanted != done:
            raise OutdatedError
        merged.changed_profiles += done + changed
        if erased:
            session.execute(FIND_TO_ERASE, ids)
        session.execute(REFER_GUESTS, ids)
        if interactions:
            self._write_interactions(session, leaving=bool(leaving))
        if erased:
            session.execute(ERASE, ids)
        if optouts:
            session.execute("DELETE FROM stage")
            session.execute(OPT_OUTS, ids)
            write_suppressions(session, self.plan, merged)

    def _refuse(self, session: Session, statement: str) -> None:
        (count,) = session.execute(statement, self.plan.ids).fetchone() or (0,)
        if count:
            raise OutdatedError

    def _change_identities(self, session: Session) -> int:
        ids, changed = self.plan.ids, 0
        session.execute(FIND_KNOWN, ids)
        for what, statement in ((_EMAILS, CHANGE_EMAILS), (_PARTNERS, LEARN_PARTNERS)):
            session.execute(before_images(what), ids)
            changed += session.execute(statement, ids).rowcount
        return changed

    def _write_interactions(self, session: Session, *, leaving: bool) -> None:
        ids = self.plan.ids
        session.execute(FIND_OWNERS, ids)
        if leaving:
            session.execute(LEAVE_OWNERLESS, ids)
        else:
            self._refuse(session, OWNERLESS)
        session.execute(CHANGE_INTERACTIONS, ids)
        session.execute(ADD_INTERACTIONS, ids)
        session.execute(OWNERS_OF_KNOWN, ids)
        session.execute(REFER_INTERACTIONS, ids)
        session.execute(REMOVE_INTERACTIONS, ids)
