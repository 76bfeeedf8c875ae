"""What can be wrong with a row: one entry a code. Stored with the row, so codes are never renamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Problem:
    """`message` goes into the error log, `title` heads the group on the page, `hint` says how it usually comes."""

    title: str | _StrPromise
    message: str
    hint: str | _StrPromise


PROBLEMS: dict[str, Problem] = {
    "EMAIL_INVALID": Problem(
        _("E-mail address is not complete"),
        "This is not an e-mail address.",
        _("Usually an address that was cut off, or with a space or a second @ in it."),
    ),
    "IDENTITY_MISSING": Problem(
        _("Nobody is named"),
        "The row has neither an e-mail address nor a partner user id.",
        _("Each row must say who it is about: fill in email or partner_user_id."),
    ),
    "EVENT_NAME_MISSING": Problem(
        _("The event has no name"),
        "The row has no event name.",
        _("Fill in event_name, or give one name for the whole file when you start the job."),
    ),
    "EVENT_TIME_INVALID": Problem(
        _("Not a date or time"),
        "This is not a date or time that can be read.",
        _("Best is ISO 8601, as in 2026-11-21T14:30:00Z."),
    ),
    "DATE_AMBIGUOUS": Problem(
        _("Day and month cannot be told apart"),
        "This date can be read as day first or as month first.",
        _("Start the job again and say which comes first, or write dates as 2026-11-21."),
    ),
    "DATE_OUT_OF_RANGE": Problem(
        _("Date is out of range"),
        "The year must lie between 1900 and 2099.",
        _("Usually a two-digit year or a number that is not a date."),
    ),
    "VALUE_TOO_LONG": Problem(
        _("Value is too long"),
        "The value is longer than 255 characters.",
        _("Names and identifiers may have 255 characters at most."),
    ),
    "ROW_TOO_SHORT": Problem(
        _("The row has too few cells"),
        "The row has fewer cells than the header.",
        _("A separator is missing, or a line was broken in two."),
    ),
    "ROW_TOO_LONG": Problem(
        _("The row has too many cells"),
        "The row has more cells than the header.",
        _("Usually a value that contains the separator and is not in quotes."),
    ),
    "QUOTE_UNCLOSED": Problem(
        _("A quote is opened and never closed"),
        'A " opens a value on this line and none closes it.',
        _('Close the quote, or write a " inside a value twice.'),
    ),
    "QUOTE_MALFORMED": Problem(
        _("Something stands behind a closing quote"),
        'After a closing " only the separator or the end of the line may follow.',
        _('Write a " inside a quoted value twice.'),
    ),
    "RECORD_TOO_LARGE": Problem(
        _("The line is too long"),
        "The line is longer than the limit of 1 MB, so it was not read. The beginning is kept here.",
        _("Usually a missing line break."),
    ),
    "NUL_CHARACTER": Problem(
        _("The row contains a NUL character"),
        "The value contains a NUL character, which is not text.",
        _("Usually part of the file was damaged, or it was saved as UTF-16."),
    ),
    "ENCODING_INVALID": Problem(
        _("The text is not in the encoding of the file"),
        "The value holds bytes that are not valid in the encoding of the file.",
        _("Save the file as UTF-8, or start the job again and say its encoding, for example Windows-1252."),
    ),
    "EMAIL_OR_HASH_INVALID": Problem(
        _("Neither an e-mail address nor a hash of one"),
        "This is neither an e-mail address nor its MD5 (32 hexadecimal digits) or SHA-256 (64).",
        _("Hashes are of the address in lower case, without blanks."),
    ),
    "HASH_INVALID": Problem(
        _("Not a hash"),
        "An MD5 has 32 hexadecimal digits, a SHA-256 has 64.",
        _("Usually a hash that was cut off, or one in Base64."),
    ),
    "NUMBER_INVALID": Problem(
        _("Not a number"),
        "This is not a plain number such as 1234.50.",
        _("Numbers have a decimal point, and no blanks, currency signs or separators of thousands."),
    ),
    "NUMBER_OUT_OF_RANGE": Problem(
        _("Number is out of range"),
        "The number has more digits or a larger exponent than can be stored.",
        _("Usually a value that is not a figure: send it as text."),
    ),
    "CHOICE_INVALID": Problem(
        _("Not one of the words that are known"),
        "The value is none of those that this column can have.",
        _("The reference of the columns lists them."),
    ),
    "VALUE_MISSING": Problem(
        _("A required value is missing"),
        "The row has no value in a column that it needs.",
        _("Fill it in and send the row again."),
    ),
    "VALUE_NOT_TEXT": Problem(
        _("A list or an object where a text is due"),
        "The value is a JSON list or object, and this column holds a text.",
        _("Send a text or a number."),
    ),
    "VALUE_NOT_JSON": Problem(
        _("The value has the wrong form"),
        "The value does not have the form that this field needs.",
        _("The reference of the columns shows an example."),
    ),
    "LIST_MISSING": Problem(
        _("No list is named"),
        "The row names no list, and none was given for the whole file.",
        _("Fill in the column list, or give the name of a list when you start the job."),
    ),
    "EVENT_MISSING": Problem(
        _("No event is named"),
        "The row has neither a partner_event_id nor an event_id.",
        _("Each row must say which event it decides on."),
    ),
    "EVENT_UNKNOWN": Problem(
        _("The event is not known"),
        "No event with this number has been brought in.",
        _("Bring in the events first, then the decisions on them."),
    ),
    "REALTIME_ONLY": Problem(
        _("A field that only purchases in real time can have"),
        "message_id, incomplete, reminder_template, send_template and reminder_time are not for imports.",
        _("Leave these fields out."),
    ),
    "JSON_INVALID": Problem(
        _("Not JSON"),
        "This cannot be read as JSON.",
        _("Usually a comma or quote too many, a record broken over two lines, or NaN, which JSON does not have."),
    ),
    "JSON_TOO_DEEP": Problem(
        _("Nested too deeply"),
        "Lists and objects lie in each other more than 32 levels deep.",
        _("Send the values that matter in the record itself."),
    ),
    "RECORD_NOT_OBJECT": Problem(
        _("Not a record"),
        "This is JSON, but not an object with names and values.",
        _('A record is written as {"email": "ines.prata@example.com", …}.'),
    ),
    "KEY_TWICE": Problem(
        _("A name stands in the record twice"),
        "The record has two values of the same name, and only one of them can be meant.",
        _("Remove one of the two."),
    ),
    "PERSON_ERASED": Problem(
        _("The person was erased"),
        "The person was erased on request and is not taken in again. The row is not kept.",
        _("Take the person out of the place the file comes from, too."),
    ),
    "KEYS_TOO_MANY": Problem(
        _("The record has too many values"),
        "The record has more names than the limit of 1,000.",
        _("Send the values that matter."),
    ),
    "REF_INVALID": Problem(
        _("The record has no reference"),
        "A reference must be a UUID, such as 7d1f0c6e-1b6a-4c83-9f0a-2f6f6f1f9d11.",
        _("Each record carries a UUID of the sender's making, by which it is found again."),
    ),
    "REF_TWICE": Problem(
        _("The reference stands in the batch twice"),
        "ref stands in this batch already: the first record with it counts.",
        _("Send later changes of the same record in a batch of their own."),
    ),
    "REF_EXISTS": Problem(
        _("What is to be created is there already"),
        "mode is create, and a record with this ref is there already.",
        _("Send it with mode upsert, or insert to replace it."),
    ),
    "REF_OF_OTHER_SCHEMA": Problem(
        _("The reference is that of another kind of record"),
        "A record of another schema has this ref.",
        _("Orders and tracking records need references of their own."),
    ),
    "SCHEMA_UNKNOWN": Problem(
        _("The kind of record is not known"),
        "schema must be guest, order or tracking.",
        _("Each record says what it is."),
    ),
    "MODE_UNKNOWN": Problem(
        _("The mode is not known"),
        "mode must be insert, create, upsert, merge, delete or gdpr_delete.",
        _("Each record says what is to be done with it."),
    ),
    "MODE_NOT_ALLOWED": Problem(
        _("The mode is not for this kind of record"),
        "mode gdpr_delete is for guests only.",
        _("Orders and tracking records are removed with mode delete, or with their guest."),
    ),
    "RECORD_VALUE_MISSING": Problem(
        _("The record has no value"),
        "value must be an object.",
        _("Only deletions go without."),
    ),
    "VALUE_TYPE_WRONG": Problem(
        _("The value is of the wrong type"),
        "This field does not take a value of this type.",
        _("Texts are in quotes, numbers are not, and lists are in square brackets."),
    ),
    "GUEST_UNIDENTIFIED": Problem(
        _("The guest has no identity"),
        "Guest without identity information: give an e-mail or an identifier.",
        _("A guest is known by email, or by provider and id of an identifier."),
    ),
    "GUEST_UNKNOWN": Problem(
        _("The guest is not known"),
        "No guest with this reference has been brought in.",
        _("Send the guests first, in an earlier batch or on earlier lines."),
    ),
    "EMAIL_OF_ANOTHER": Problem(
        _("The e-mail address is another guest's"),
        "Another guest has this e-mail address.",
        _("An address never moves from one person to another."),
    ),
}
