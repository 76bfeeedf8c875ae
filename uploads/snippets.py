"""Lines for a shell that speak to the batch API. They hold no secrets: key and location are variables."""

from __future__ import annotations

import base64

from django.conf import settings
from django.utils.translation import gettext as _

from uploads.models import BatchUpload

KEY = '-u "$CLIENT_KEY:$API_TOKEN"'
FILE = "batch.json.gz"


def _batches() -> str:
    return f"{settings.BASE_URL}/v2/batches"


def _lines(*steps: tuple[str, str]) -> str:
    return "\n\n".join(f"# {n}. {title}\n{lines}" for n, (title, lines) in enumerate(steps, start=1))


def new_upload() -> str:
    """A file from the start, under a new reference."""
    declare = (
        "REF=$(uuidgen)\n"
        f"MD5=$(openssl dgst -md5 -r {FILE} | cut -c 1-32)\n"
        f"SIZE=$(wc -c < {FILE})\n"
        f"curl {KEY} -X PUT \\\n"
        '  -d "{\\"checksum\\": \\"$MD5\\", \\"size\\": $SIZE}" \\\n'
        f'  "{_batches()}/$REF"'
    )
    return _lines(
        (_("Say what is coming, under a new reference"), declare),
        (_("Send the file to the location.href of the answer"), f'curl -T {FILE} "$LOCATION"'),
        (_("Ask what became of it"), f'curl {KEY} \\\n  "{_batches()}/$REF"'),
    )


def this_upload(upload: BatchUpload) -> str:
    """The file that an allocated reference waits for."""
    digest = base64.b64encode(bytes.fromhex(upload.checksum)).decode()
    declare = (
        f"curl {KEY} -X PUT \\\n"
        f'  -d \'{{"checksum": "{upload.checksum}", "size": {upload.size}}}\' \\\n'
        f'  "{_batches()}/{upload.ref}"'
    )
    send = f'curl -H "Content-Md5: {digest}" \\\n  -T {FILE} "$LOCATION"'
    return _lines(
        (_("The same declaration again gives the location again"), declare),
        (_("Send the file to the location.href of the answer"), send),
    )


def status_of(upload: BatchUpload) -> str:
    return f'curl {KEY} \\\n  "{_batches()}/{upload.ref}"'
