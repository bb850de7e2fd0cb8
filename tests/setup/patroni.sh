#!/usr/bin/env bash
# Put Patroni into a virtual environment, once, and print the environment's path. Called by tests/run,
# and by the tests that need it. Safe to call from several at the same time.
set -euo pipefail

version=4.1.0
# PostgreSQL does not run as root, and its user reads neither root's home nor a Python below it.
home=${XDG_CACHE_HOME:-$HOME/.cache}
[ "$(id -u)" -ne 0 ] || home=/var/cache
cache=${ARBITER_TEST_CACHE:-$home/region-arbiter}
venv=$cache/patroni-$version
python=/usr/bin/python3

mkdir -p "$cache"
exec 9>"$cache/patroni.lock"
flock 9
if [ ! -e "$venv/complete" ]; then
  . "$(dirname "$0")/../../deploy/setup.sh"
  need_packages python3=python3
  [ -x "$python" ] || python=$(command -v python3)
  # A Python without ensurepip cannot make an environment; Debian packs it apart.
  "$python" -c 'import ensurepip' 2>/dev/null || need_packages python3-venv=python3-venv
  rm -rf "$venv"
  "$python" -m venv "$venv" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check \
    "patroni[etcd3]==$version" "psycopg[binary]" >&2
  chmod -R a+rX "$venv"
  touch "$venv/complete"
fi
echo "$venv"
