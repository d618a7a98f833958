#!/bin/sh
# The service as curl sees it.
#
# usage: raw_text.sh URL MODEL
set -eu
url=$1 model=$2

status() { curl -sS -o /dev/null -w '%{http_code}' "$@"; }
expect() { [ "$2" = "$3" ] && echo "ok: $1" || { echo "FAILED: $1: $2, not $3"; exit 1; }; }
json='Content-Type: application/json'

expect "predict" "$(status -H "$json" -d '{"text": "good film"}' "$url/v1/models/$model:predict")" 200
expect "predict many" "$(status -H "$json" -d '{"texts": ["good", "bad"]}' "$url/v1/models/$model:predict")" 200
expect "a form is not JSON" "$(status -d 'text=good' "$url/v1/models/$model:predict")" 415
expect "broken JSON" "$(status -H "$json" -d '{"text": ' "$url/v1/models/$model:predict")" 400
expect "wrong method" "$(status "$url/v1/models/$model:predict")" 405
expect "unknown model" "$(status -H "$json" -d '{"text": "a"}' "$url/v1/models/nobody:predict")" 404
head -c 2000000 /dev/zero | tr '\0' x > /tmp/refit-large.$$
trap 'rm -f /tmp/refit-large.$$' EXIT
expect "too large" "$(status -H "$json" --data-binary "@/tmp/refit-large.$$" "$url/v1/models/$model:predict")" 413
expect "ready" "$(status "$url/v2/health/ready")" 200
expect "metrics" "$(curl -sS "$url/metrics" | grep -c "^refit_served_version{model=\"$model\"")" 1
