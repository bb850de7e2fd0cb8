#!/usr/bin/env bash
# Mutation testing of the core: each mutant is compiled and held against the core's own tests.
#   run.sh [MODULE…]     all modules, or these; goes on where it was broken off
#   run.sh --fresh …     forget what was found before
#   run.sh --list        how many mutants each module has
#   run.sh --report      what was found so far, without running anything
# Exit 0: every survivor is explained in survivors.txt. 1: one is not. 2: something is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/setup.sh

# A newer one may know other mutants: counts and survivors are about this one.
version=27.1.0
# In the order of what a bug there could do.
modules=(
  agent/lease agent/deadman agent/group agent/executor agent/isolation agent/mod agent/report
  agent/gaps leases fence timing leader apply orders invariants external decide view plan state
  spec resource ids time steps loss message command policy commits drill reason event explain
)
home="${CARGO_TARGET_DIR%/}-mutants"
survivors=tests/mutants/survivors.txt
# It walks at random for half a minute unoptimised: for those alone that all the others miss.
slow=decide::tests::walk

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

# once MODULE FILTER…: every mutant of the module that no earlier pass has caught.
once() {
  local module="$1" files
  shift
  mapfile -t files < <(files_of "$module")
  [ "${#files[@]}" -gt 0 ] || die "unknown module ${module@Q}; modules are ${modules[*]}"
  (cd "$home/source" && CARGO_TARGET_DIR="$home/target" nice -n 19 cargo mutants --in-place \
    --package arbiter-core --iterate --output "$home/found/${module//\//-}" "${files[@]}" \
    --baseline skip --timeout 300 --build-timeout 600 --colors never -- --lib -- "$@") || true
}

list() {
  local module files
  for module in "${modules[@]}"; do
    mapfile -t files < <(files_of "$module")
    printf '%-16s %6d\n' "$module" \
      "$(cargo mutants --list --package arbiter-core "${files[@]}" | wc -l)"
  done
}

# What was found, module by module, and the survivors that nobody explained.
report() {
  awk -f tests/mutants/report.awk "$survivors" "$home"/found/*/mutants.out/*.txt
}

case "${1:-}" in
  --list)
    need_tool
    list
    exit
    ;;
  --report)
    report
    exit
    ;;
  --fresh)
    rm -rf "$home/found"
    shift
    ;;
esac
need_rust
need_tool
copy_sources
[ $# -gt 0 ] || set -- "${modules[@]}"
for module in "$@"; do
  say "== $module"
  # What is near finds most of it at once; then everything but the walk; then the walk too.
  once "$module" "${module%%/*}::"
  once "$module" --skip "$slow"
  once "$module"
done
report
