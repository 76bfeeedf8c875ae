#!/bin/sh
# Pushes a file of JSON records as a batch and waits for what becomes of it.
#
#   BATCHDESK_URL=https://desk.example.com CLIENT_KEY=abcd1234 API_TOKEN=bd_live_… sh docs/push-batch.sh guests.json
#
# Needs uuidgen, gzip, md5sum and curl, nothing else. The error log, if there is one, is written beside the file as
# <reference>-errors.json. Ends with 0 when every record was processed, 1 when not, 2 when the batch was refused.
set -eu

file=$1
url=${BATCHDESK_URL%/}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The value of a text in the JSON that came last: field "href" of the answer
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$work/$2"; }

# The key is read from a file, so that it does not stand in the list of processes.
printf 'user = "%s:%s"\n' "$CLIENT_KEY" "$API_TOKEN" > "$work/key"

refused() {
    echo "refused: $(field message answer)" >&2
    exit 2
}

ref=$(uuidgen 2> /dev/null || cat /proc/sys/kernel/random/uuid)
gzip -c "$file" > "$work/batch.gz"
checksum=$(md5sum < "$work/batch.gz")
checksum=${checksum%% *}
size=$(wc -c < "$work/batch.gz")

curl -sS --fail-with-body -K "$work/key" -X PUT -o "$work/answer" \
    -d "{\"checksum\": \"$checksum\", \"size\": $((size))}" "$url/v2/batches/$ref" || refused
sed 's/.*"location": *{\([^}]*\)}.*/\1/' "$work/answer" > "$work/location"

# The location is signed: it needs no key.
curl -sS --fail-with-body -H "Content-Type:" --retry 3 -T "$work/batch.gz" -o "$work/answer" \
    "$(field href location)" || refused
echo "uploaded $ref"

status=
while :; do
    curl -sS --fail-with-body -K "$work/key" -o "$work/answer" "$url/v2/batches/$ref" || refused
    sed 's/.*"status": *{\([^}]*\)}.*/\1/' "$work/answer" > "$work/status"
    status=$(field code status)
    case $status in
    success | error | corrupted) break ;;
    esac
    sleep "${POLL_SECONDS:-2}"
done
echo "$status: $(sed -n 's/.*"stats": *{\([^}]*\)}.*/\1/p' "$work/answer" | tr -d '"')"
[ "$status" != success ] || exit 0

curl -sS --fail -o "$work/log.gz" "$(field log status)"
gzip -dc "$work/log.gz" > "$(dirname "$file")/$ref-errors.json"
echo "error log: $(dirname "$file")/$ref-errors.json"
exit 1
