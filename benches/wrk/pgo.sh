#!/usr/bin/env bash
# Builds tidegate with a profile of its own load (PGO): target/pgo/tidegate. Release packages are built so.
#
#   benches/wrk/pgo.sh
#
# FEATURES names the features in place of the default ones. Needs wrk and the rustup component llvm-tools. Both builds must agree in everything but RUSTFLAGS: with another LTO
# setting, feature or lock file symbols are hashed differently and the profile is ignored without a word.
# Train again when rustc, Pingora or tidegate changes.
set -euo pipefail
cd "$(dirname "$0")/../.."

host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
if [ ! -x "$tools/llvm-profdata" ]; then
  rustup component add llvm-tools
fi
work=target/pgo
profiles=$PWD/$work/profiles
rm -rf "$profiles" && mkdir -p "$profiles"

# With --target, build scripts and proc macros are not instrumented. The process must end by itself to write its counts.
build() {
  RUSTFLAGS="$1" cargo build --locked --profile dist ${FEATURES:+--no-default-features --features "$FEATURES"} \
    --target "$host" --target-dir "$work/$2" --bin tidegate
}

build "-Cprofile-generate=$profiles" train
cargo build --locked --profile dist --example origin
benches/wrk/bench.py --train --no-build --tidegate "$work/train/$host/dist/tidegate"
"$tools/llvm-profdata" merge -o "$profiles/merged.profdata" "$profiles"
build "-Cprofile-use=$profiles/merged.profdata" use
cp "$work/use/$host/dist/tidegate" "$work/tidegate"
functions=$("$tools/llvm-profdata" show "$profiles/merged.profdata" | sed -n 's/^Total functions: //p')
echo "target/pgo/tidegate, with a profile of $functions functions"
