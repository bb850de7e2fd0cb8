#!/usr/bin/env bash
# Mutation testing of the core: what each mutant of cargo-mutants changes is held against the core's
# own tests. All of them are built into one binary (together.py); what cannot be is counted apart.
#   run.sh [MODULE…]     all modules, or these; what was caught before is not run again
#   run.sh --fresh …     forget what was found before
#   run.sh --quick …     tests that are not near get two seconds a mutant
#   run.sh --list        how many mutants each module has
#   run.sh --report      what was found so far, without running anything
#   run.sh --deadman     the deadman's side of the operating system, one build a mutant: hours
# MUTANTS_JOBS: how many run at once; all processors otherwise. Exit 0: every survivor is explained
# in survivors.txt. 1: one is not. 2: something is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/setup.sh

# A newer one may know other mutants: counts and survivors are about this one.
version=27.1.0
# In the order of what a bug there could do.
modules=(
  agent/lease agent/deadman agent/group agent/executor agent/isolation agent/change agent/mod
  agent/report agent/gaps leases fence timing leader apply orders invariants external decide view
  plan state spec resource ids time steps loss command policy approval audit drill explain
)
home="${CARGO_TARGET_DIR%/}-mutants"
survivors=tests/mutants/survivors.txt
seconds=100000

need_tool() {
  [ "$(cargo mutants --version 2>/dev/null)" = "cargo-mutants $version" ] && return
  say "installing cargo-mutants $version"
  CARGO_TARGET_DIR="$home/tool" cargo install --quiet --locked cargo-mutants --version "$version" ||
    die "cargo-mutants could not be installed: cargo install --locked cargo-mutants --version $version"
}

# Mutants are made in a copy, so that none is ever left in the checkout.
copy_sources() {
  rm -rf "$home/source"
  mkdir -p "$home/source" "$home/found"
  git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$home/source"
}

files_of() {
  if [ -d "arbiter/core/src/$1" ]; then
    printf '%s\n' -f "arbiter/core/src/$1/**/*.rs"
  fi
  if [ -f "arbiter/core/src/$1.rs" ]; then
    printf '%s\n' -f "arbiter/core/src/$1.rs"
  fi
}

list() {
  local module files
  for module in "${modules[@]}"; do
    mapfile -t files < <(files_of "$module")
    [ "${#files[@]}" -gt 0 ] || die "unknown module ${module@Q}; modules are ${modules[*]}"
    printf '%-16s %6d\n' "$module" \
      "$(cargo mutants --list --package arbiter-core "${files[@]}" | wc -l)"
  done
}

# What was found, module by module, and the survivors that nobody explained.
report() {
  awk -f tests/mutants/report.awk "$survivors" "$home"/found/*/mutants.out/*.txt
}

# Optimised a little: the tests take a third of the time, and the build twice. Of warnings the
# mutants are full.
together() {
  cargo mutants --list --json --package arbiter-core >"$home/list.json"
  CARGO_TARGET_DIR="$home/target" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false \
    RUSTFLAGS="--cfg tokio_unstable --cap-lints=allow" \
    MUTANTS_CARGO_ARGS="--config profile.dev.package.arbiter-core.opt-level=1" \
    nice -n 19 python3 tests/mutants/together.py "$home/list.json" "$home/source" "$home/found" \
    "${MUTANTS_JOBS:-$(nproc)}" "$seconds" "$@"
}

# The deadman and what the agent asks of it, with the tests that guard them. Each mutant builds the
# crate `arbiter`; RocksDB is built once.
deadman() {
  (cd "$home/source" && CARGO_TARGET_DIR="$home/target-agent" nice -n 19 cargo mutants --in-place \
    --package arbiter --iterate --output "$home/found-agent" --baseline skip --timeout 300 \
    --build-timeout 1800 --colors never -f 'arbiter/src/agent/deadman/**/*.rs' \
    -- --lib -- agent::) || true
}

while [ $# -gt 0 ]; do
  case "$1" in
    --list)
      need_tool
      list
      exit
      ;;
    --report)
      report
      exit
      ;;
    --fresh) rm -rf "$home/found" ;;
    --quick) seconds=2 ;;
    --deadman)
      need_rust
      need_tool
      copy_sources
      deadman
      exit
      ;;
    --*) die "unknown option ${1@Q}" ;;
    *) break ;;
  esac
  shift
done
need_rust
need_packages python3=python3
need_tool
copy_sources
[ $# -gt 0 ] || set -- "${modules[@]}"
together "$@"
report
