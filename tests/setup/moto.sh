#!/usr/bin/env bash
# Put moto (S3 and Route 53 for tests) into a virtual environment, once, and print the environment's path.
# Called by tests/run, and by the tests that need it. Safe to call from several at the same time.
set -euo pipefail

version=5.2.5
cache=${ARBITER_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/region-arbiter}
venv=$cache/moto-$version

mkdir -p "$cache"
exec 9>"$cache/moto.lock"
flock 9
if [ ! -e "$venv/complete" ]; then
  . "$(dirname "$0")/../../deploy/setup.sh"
  need_packages python3=python3
  # A Python without ensurepip cannot make an environment; Debian packs it apart.
  python3 -c 'import ensurepip' 2>/dev/null || need_packages python3-venv=python3-venv
  rm -rf "$venv"
  python3 -m venv "$venv" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$version" >&2
  touch "$venv/complete"
fi
echo "$venv"
