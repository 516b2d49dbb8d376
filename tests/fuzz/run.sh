#!/usr/bin/env bash
# Fuzzes each target for so many seconds: tests/fuzz/run.sh [SECONDS [TARGET…]]. Stable Rust; needs a C++ compiler.
# What it finds stands in tests/fuzz/findings; a corpus of one's own may be put into tests/fuzz/corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-20}
targets=("${@:2}")
if [ ${#targets[@]} -eq 0 ]; then
  for file in targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# Only tidegate and the targets are instrumented; packages stay as the tests have them.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target}
export RUSTC_WORKSPACE_WRAPPER=$PWD/instrument.sh
cargo build --locked

mkdir -p findings
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "findings/$target"
  printf '== %s, %s s\n' "$target" "$seconds"
  # The engine's own exit code is what counts, so it is kept apart from the lines that are shown.
  code=0
  "$CARGO_TARGET_DIR/debug/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
    -dict="dictionary.txt" -artifact_prefix="findings/$target/" -print_final_stats=1 "corpus/$target" "seeds/$target" \
    >"findings/$target.log" 2>&1 || code=$?
  grep -E 'DONE|stat::number_of_executed_units|ERROR|SUMMARY|panicked|Test unit written' "findings/$target.log" || true
  if [ "$code" -ne 0 ]; then
    tail -n 40 "findings/$target.log"
    echo "$target: a finding, see findings/$target" >&2
    exit 1
  fi
done
