#!/usr/bin/env bash
# Carries a Tributary site's messages to its parent, with curl and jq.
# Settings by environment: SITE_URL and OUTBOX_TOKEN of the child, CARRY_TOKEN of the parent.
# Runs until there is nothing left; let a timer (cron, systemd) start it again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The credentials stand in files, where `ps` does not show them.
printf 'Authorization: Bearer %s\n' "$OUTBOX_TOKEN" >"$work/outbox"
printf 'Authorization: Bearer %s\n' "$CARRY_TOKEN" >"$work/carry"
curl_json() { curl --silent --show-error --max-time 60 --header 'Content-Type: application/json' "$@"; }

say() { # say ID WORD: the JSON on standard input
  curl_json --fail --header "@$work/outbox" --data-binary @- "$SITE_URL/outbox/$1/$2" >/dev/null
}

while true; do
  curl_json --fail --header "@$work/outbox" \
    --data '{"max":20,"for_seconds":300,"as":"fhir-message-text"}' "$SITE_URL/outbox/lease" >"$work/leased"
  count=$(jq '.messages | length' "$work/leased")
  if ((count == 0)); then exit 0; fi
  for ((index = 0; index < count; index++)); do
    read -r id lease target < <(jq -r ".messages[$index] | [.id, .lease, .target] | @tsv" "$work/leased")
    # The text goes on as it came: as JSON, jq could alter its numbers.
    jq -j ".messages[$index].message" "$work/leased" >"$work/message"
    status=$(curl --silent --max-time 60 --output "$work/answer" --write-out '%{http_code}' \
      --header "@$work/carry" --header 'Content-Type: application/fhir+json' \
      --data-binary "@$work/message" "$target") || status=000
    case $status in
    200) jq -n --arg lease "$lease" --rawfile answer "$work/answer" \
      '{lease: $lease, evidence: $answer}' | say "$id" delivered ;;
    000 | 5* | 401 | 403 | 404 | 408 | 429) jq -n --arg lease "$lease" --arg error "HTTP $status" \
      '{lease: $lease, error: $error, retry: true}' | say "$id" failed ;;
    *) jq -n --arg lease "$lease" --arg error "HTTP $status" \
      '{lease: $lease, error: $error, retry: false}' | say "$id" failed ;;
    esac
  done
done
