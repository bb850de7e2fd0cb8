# Sourced by deploy/demo and tests/run: what both need on a fresh machine. Not a command.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$*"
  exit 2
}

# One target directory for demo, tests, benches and CI, outside the checkout, so that RocksDB's C++
# is compiled once.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/region-arbiter/target}"

need_rust() {
  command -v cargo >/dev/null || die "cargo is missing: install a Rust toolchain (1.95 or newer), then run this again"
}

# need_packages PROGRAM=PACKAGE…: install the Debian package of each program that is missing.
need_packages() {
  local missing=() pair program
  for pair in "$@"; do
    program="${pair%%=*}"
    case "$program" in
      /*) compgen -G "$program" >/dev/null || missing+=("${pair#*=}") ;;
      *) PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("${pair#*=}") ;;
    esac
  done
  [ "${#missing[@]}" -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "missing: ${missing[*]}. As root: apt-get install --no-install-recommends ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  local log
  log="$(mktemp)"
  # Servers from packages must not start by themselves here: the lab starts its own.
  if ! { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "could not install ${missing[*]}; the whole log is $log"
  fi
  rm -f "$log"
}

need_build_packages() {
  need_packages clang++=clang cc=gcc '/usr/lib/llvm-*/lib/libclang.so*=libclang-dev'
}

need_lab_packages() {
  need_packages '/usr/lib/postgresql/*/bin/initdb=postgresql' named=bind9 nsupdate=bind9-dnsutils ip=iproute2 nft=nftables
}

# build ARGS…: cargo build; the first one compiles RocksDB.
build() {
  [ -d "$CARGO_TARGET_DIR/debug/build" ] || say "first build: about ten minutes on two cores, most of it RocksDB; later ones take seconds"
  cargo build --locked "$@" || die "the build failed; the errors are above"
}
