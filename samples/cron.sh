#!/bin/sh
# A scheduled pull: quiet when all is well, so that cron sends mail only when something failed.
# usage: cron.sh MANIFEST DEST
set -eu
exec bulkfetch get "$1" -d "$2" --quiet --deadline 50m --log-file "$2.log" --failed "$2.failed.jsonl"
