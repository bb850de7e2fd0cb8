#!/usr/bin/env bash
# Put Azurite (Azure Blob for tests) into the cache, once, and print the path of azurite-blob.
# Called by tests/run, and by the tests that need it. Safe to call from several at the same time.
set -euo pipefail

version=3.35.0
cache=${ARBITER_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/region-arbiter}
place=$cache/azurite-$version

mkdir -p "$cache"
exec 9>"$cache/azurite.lock"
flock 9
if [ ! -e "$place/complete" ]; then
  . "$(dirname "$0")/../../deploy/setup.sh"
  need_packages node=nodejs npm=npm
  rm -rf "$place"
  mkdir -p "$place"
  npm install --silent --no-fund --no-audit --prefix "$place" "azurite@$version" >&2
  touch "$place/complete"
fi
echo "$place/node_modules/.bin/azurite-blob"
