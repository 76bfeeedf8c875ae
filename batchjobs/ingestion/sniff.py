"""What kind of text a file is: encoding, line ends, delimiter. Nothing is guessed that could spoil a name."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from batchjobs.failures import FileFailureError

HEAD_BYTES = 256 * 1024

_SIGNATURES: list[tuple[bytes, str]] = [
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"PAR1", "a Parquet file"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
]
TAR_HEADER = 512


def kind_of(head: bytes) -> str:
    """What a file that begins so is, if it is known and not text: "a zip archive"; else ""."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    return "a tar archive" if is_tar(head) else ""


def is_tar(head: bytes) -> bool:
    """By the header's checksum, which all dialects have (POSIX pax, "ustar Interchange Format")."""
    header = head[:TAR_HEADER]
    if len(header) < TAR_HEADER:
        return False
    written = header[148:156].strip(b" \0")
    if not written or written.strip(b"01234567"):
        return False
    return sum(header[:148]) + 8 * ord(" ") + sum(header[156:]) == int(written, 8)


_TEXT_CONTROLS = frozenset(b"\t\n\r\x0b\x0c\x1a\x1b")


@dataclass(frozen=True, slots=True)
class TextForm:
    """How to turn bytes into lines. `bom` is the number of bytes to leave out at the start."""

    encoding: str
    bom: int
    newline: bytes

    @property
    def lenient(self) -> str:
        """The error handler that keeps undecodable bytes, so that the row can be named and shown."""
        return "surrogatepass" if self.encoding.startswith("utf-16") else "surrogateescape"

    def decode(self, data: bytes) -> tuple[str, bool]:
        """The text, and whether some of it is not in the encoding: that is kept as lone surrogates."""
        try:
            return data.decode(self.encoding), False
        except UnicodeDecodeError:
            half = len(data) % 2 if self.encoding.startswith("utf-16") else 0  # a unit that was cut off
            text = data[: len(data) - half].decode(self.encoding, self.lenient)
            return text + "".join(chr(0xDC00 + byte) for byte in data[len(data) - half :]), True

    def encode(self, text: str) -> bytes:
        """The bytes that `decode` made `text` of."""
        return text.encode(self.encoding, self.lenient)


def text_form(head: bytes, declared: str = "") -> TextForm:
    """The form of a file that begins with `head`.

    A byte-order mark wins over `declared`; without either it is UTF-8, and bytes that are not become errors of their
    rows. Raises FileFailureError FILE_EMPTY or BINARY_FILE.
    """
    if not head:
        raise FileFailureError("FILE_EMPTY")
    encoding, bom = _encoding(head, declared)
    if not encoding.startswith("utf-16"):
        if kind := kind_of(head):
            raise FileFailureError("BINARY_FILE", kind=kind)
        controls = sum(head.count(bytes((byte,))) for byte in range(32) if byte not in _TEXT_CONTROLS)
        if controls * 20 > len(head):
            raise FileFailureError("BINARY_FILE", kind="data that is not text")
    newline = _newline(TextForm(encoding, 0, b"").decode(head[bom:])[0])
    if len(head) == bom:
        raise FileFailureError("FILE_EMPTY")
    return TextForm(encoding, bom, newline.encode(encoding))


def _newline(text: str) -> str:
    """What lines end in: \\n also stands for \\r\\n, and a few of them in cells do not count."""
    return "\r" if text.count("\r") - text.count("\r\n") > text.count("\n") else "\n"


_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def _encoding(head: bytes, declared: str) -> tuple[str, int]:
    """The codec's name and the length of the byte-order mark."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    # UTF-16 without a mark: Western text has a NUL in every second byte.
    sample = head[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if odd * 5 > len(sample) and even * 50 < len(sample):
        return "utf-16-le", 0
    if even * 5 > len(sample) and odd * 50 < len(sample):
        return "utf-16-be", 0
    return ("utf-8" if declared in ("", "utf-16") else codecs.lookup(declared).name), 0


SPACES = " "  # any number of blanks between columns
DELIMITERS = (",", ";", "\t", "|")


def delimiter_of(lines: list[str], extension: str, declared: str = "") -> str:
    """The delimiter that the header uses most outside quotes; `.psv` and `.tsv` say theirs."""
    if declared:
        return declared
    by_extension = {".psv": "|", ".tsv": "\t"}.get(extension)
    header = lines[0] if lines else ""
    unquoted = "".join(header.split('"')[::2])
    counts = {d: unquoted.count(d) for d in DELIMITERS}
    if by_extension and counts[by_extension]:
        return by_extension
    best = max(DELIMITERS, key=lambda d: counts[d])
    return best if counts[best] else by_extension or ","
