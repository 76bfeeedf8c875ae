"""Writes samples/messy-events.csv: a newsletter's events as they come, with every kind of bad row.

    python samples/make_messy.py

ROWS says of each record what becomes of it, and the tests hold the pipeline to it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TARGET = Path(__file__).parent / "messy-events.csv"
HEADER = b"partner_event_id,email,partner_user_id,event_name,event_time,first_name,last_name,coupon_code,subject"

GOOD: tuple[str, ...] = ()
SKIPPED = ("SKIPPED",)  # its partner_event_id stood in the file before

_FIRST = (
    "Amara",
    "Björn",
    "Chloé",
    "Dmitri",
    "Élodie",
    "Farid",
    "Grace",
    "Hiroshi",
    "Inês",
    "Jürgen",
    "Łukasz",
    "Zoë",
)
_LAST = (
    "O'Neill",
    "Åkesson",
    "Baptiste",
    "Ćosić",
    "de la Cruz",
    "Ωmega",
    "Nguyễn",
    "山田",
    "Silva",
    "Van Houten",
)
_NAMES = ("opened", "clicked", "subscribed", "purchase")


def _good(count: int, start: int) -> list[tuple[bytes, tuple[str, ...]]]:
    rows = []
    for number in range(start, start + count):
        first, last = _FIRST[number % len(_FIRST)], _LAST[number % len(_LAST)]
        day, hour = number % 28 + 1, number % 24
        line = (
            f"nl-{number:04},reader.{number}@example.com,,{_NAMES[number % 4]},"
            f"2026-03-{day:02}T{hour:02}:15:00Z,{first},{last},,Spring crate digging"
        )
        rows.append((line.encode(), GOOD))
    return rows


def _row(text: str, *codes: str) -> tuple[bytes, tuple[str, ...]]:
    return text.encode(), codes


LONG = "x" * 300

# Records in file order with the codes that they are rejected for. A record may span several lines.
ROWS: list[tuple[bytes, tuple[str, ...]]] = [
    *_good(8, 1),
    # Addresses
    _row("nl-0101,maria.example.com,,opened,2026-03-02,Maria,Rossi,,Spring", "EMAIL_INVALID"),
    _row("nl-0102,maria@,,opened,2026-03-02,Maria,Rossi,,Spring", "EMAIL_INVALID"),
    _row("nl-0103,two@at@example.com,,opened,2026-03-02,Two,At,,Spring", "EMAIL_INVALID"),
    _row("nl-0104,with space@example.com,,opened,2026-03-02,With,Space,,Spring", "EMAIL_INVALID"),
    _row("nl-0105,,,opened,2026-03-02,No,Body,,Spring", "IDENTITY_MISSING"),
    _row("nl-0106,   ,,opened,2026-03-02,Only,Blanks,,Spring", "IDENTITY_MISSING"),
    _row("nl-0107,,member-0042,opened,2026-03-02,Known,By Number,,Spring"),
    _row("nl-0108,  MIXED.Case@Example.COM ,,opened,2026-03-02,Mixed,Case,,Spring"),
    _row("nl-0109,o'brien+news@sub.example.co.uk,,opened,2026-03-02,Sean,O'Brien,,Spring"),
    *_good(5, 10),
    # Times
    _row("nl-0110,leap@example.com,,opened,2026-02-29,Leap,Year,,Spring", "EVENT_TIME_INVALID"),
    _row("nl-0111,april@example.com,,opened,2026-04-31T10:00:00Z,April,Long,,Spring", "EVENT_TIME_INVALID"),
    _row("nl-0112,words@example.com,,opened,last Tuesday,In,Words,,Spring", "EVENT_TIME_INVALID"),
    _row("nl-0113,either@example.com,,opened,04/03/2026,Either,Way,,Spring", "DATE_AMBIGUOUS"),
    _row("nl-0114,clear@example.com,,opened,24/03/2026,Clear,Day,,Spring"),
    _row("nl-0115,named@example.com,,opened,24 Mar 2026,Named,Month,,Spring"),
    _row("nl-0116,offset@example.com,,opened,2026-03-24T23:59:59+05:30,Off,Set,,Spring"),
    _row("nl-0117,epoch@example.com,,opened,1774310400,Epoch,Seconds,,Spring"),
    _row("nl-0118,old@example.com,,opened,0026-03-24,Two,Digits,,Spring", "DATE_OUT_OF_RANGE"),
    _row("nl-0119,now@example.com,,opened,,No,Time,,Spring"),
    *_good(5, 20),
    # Names
    _row("nl-0120,unnamed@example.com,,,2026-03-05,Un,Named,,Spring", "EVENT_NAME_MISSING"),
    _row(f"nl-0121,long@example.com,,opened,2026-03-05,{LONG},Name,,Spring", "VALUE_TOO_LONG"),
    _row(
        "nl-0122,not-an-address,,,yesterday,All,Wrong,,Spring",
        "EMAIL_INVALID",
        "EVENT_NAME_MISSING",
        "EVENT_TIME_INVALID",
    ),
    # Cells
    _row("nl-0123,short@example.com,,opened,2026-03-06", "ROW_TOO_SHORT"),
    _row("nl-0124,extra@example.com,,opened,2026-03-06,Extra,Comma,,Spring, and summer", "ROW_TOO_LONG"),
    _row('nl-0125,lines@example.com,,opened,2026-03-06,Three,Lines,,"Spring\nis\nhere"'),
    _row("nl-0126,after.lines@example.com,,opened,2026-02-30,After,Lines,,Spring", "EVENT_TIME_INVALID"),
    _row('nl-0127,crlf.cell@example.com,,opened,2026-03-06,Windows,Lines,,"Spring\r\nis here"'),
    _row('nl-0128,quotes@example.com,,opened,2026-03-06,"Nick ""The Crate""",Quoted,,"Spring, and more"'),
    _row('nl-0129,stray@example.com,,opened,2026-03-06,"Stray" Quote,Behind,,Spring', "QUOTE_MALFORMED"),
    *_good(5, 30),
    # Bytes
    (
        b"nl-0130,latin@example.com,,opened,2026-03-07,Jos\xe9,Mu\xf1oz,,Spring",
        ("ENCODING_INVALID", "ENCODING_INVALID"),
    ),
    (b"nl-0131,nul@example.com,,opened,2026-03-07,Li\x00sa,Null,,Spring", ("NUL_CHARACTER",)),
    _row("nl-0132,emoji@example.com,,opened,2026-03-07,Emoji 🎶,Fan,,Spring 🌱"),
    _row("nl-0133,rtl@example.com,,opened,2026-03-07,ليلى,حداد,,Spring"),
    # Cells that mean harm: good rows, shown and exported as the text they are
    _row(
        "nl-0134,html@example.com,,opened,2026-03-08,<b>Bold</b>,<script>alert(1)</script>,,"
        "<img src=x onerror=alert(1)>"
    ),
    _row("nl-0135,formula@example.com,,opened,2026-03-08,=1+1,+cmd|' /C calc'!A0,@SUM(A1:A9),-2+3"),
    _row("nl-0136,sql@example.com,,opened,2026-03-08,Robert'); DROP TABLE students;--,Tables,,{{ 7*7 }} {% now %}"),
    _row('nl-0137,"<script>alert(1)</script>",,opened,2026-03-08,Script,Address,,Spring', "EMAIL_INVALID"),
    _row(
        'nl-0138,"=HYPERLINK(""http://example.com"")",,opened,2026-03-08,Formula,Address,,Spring',
        "EMAIL_INVALID",
    ),
    # Again
    _row("nl-0003,reader.3@example.com,,opened,2026-03-09,Same,Event,,Spring", *SKIPPED),
    _row("nl-0128,quotes@example.com,,opened,2026-03-06,Same,Again,,Spring", *SKIPPED),
    _row(",no.number@example.com,,opened,2026-03-09,No,Number,,Spring"),
    _row(",no.number@example.com,,opened,2026-03-09,No,Number,,Spring"),
    *_good(6, 40),
    _row('nl-0139,open.quote@example.com,,opened,2026-03-10,"Never closed,Quote,,Spring', "QUOTE_UNCLOSED"),
    *_good(4, 50),
]
BLANK_BEHIND = {8, 40}  # records behind which a blank line stands


def messy() -> bytes:
    lines = [HEADER]
    for number, (line, _codes) in enumerate(ROWS, start=1):
        lines.append(line)
        if number in BLANK_BEHIND:
            lines.append(b"")
    return b"\n".join(lines) + b"\n"


def expected() -> dict[str, int]:
    """Counts of valid, skipped and invalid rows."""
    counts = Counter("skipped" if c == SKIPPED else "invalid" if c else "valid" for _line, c in ROWS)
    return {what: counts[what] for what in ("valid", "skipped", "invalid")}


def expected_errors() -> list[tuple[int, tuple[str, ...]]]:
    """(physical line, codes) of each rejected row. Line 1 is the header."""
    errors, line = [], 2
    for number, (record, codes) in enumerate(ROWS, start=1):
        if codes and codes != SKIPPED:
            errors.append((line, codes))
        line += record.count(b"\n") + 1 + (number in BLANK_BEHIND)
    return errors


if __name__ == "__main__":
    TARGET.write_bytes(messy())
    print(f"{TARGET}: {expected()}")
