#!/usr/bin/env bash
# URLs come in as some program finds them; finished files go on to the next one, each as soon as it is whole.
# Without pipefail the exit status of bulkfetch would be lost.
# usage: pipe.sh DEST < urls
set -euo pipefail
bulkfetch get - -d "$1" --quiet --print '{path}\t{size}\t{sha256}' |
    while IFS=$'\t' read -r path size sha256; do
        echo "ready: $path ($size bytes, sha256 $sha256)"
    done
