#!/usr/bin/env bash
# tidegate with many objects on a real API server: memory, CPU and propagation under churn.
#
#   KUBEBOX_BIN=…/kubebox benches/kube-scale.sh [INGRESSES [PODS_PER_SERVICE]]     # default 10000 10
#
# Makes so many Ingresses, Services and EndpointSlices, lets tidegate follow them from a start of its own, then changes
# endpoints of existing slices at 50 a second and creates Ingresses, and prints what the program's metrics say:
# `tidegate_config_propagation_seconds` counts from the event's arrival to the change being in force. Needs root, and
# a release build (`cargo build --release`). Everything is in a network namespace of its own and taken away at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
COUNT=${1:-10000} PODS=${2:-10}
WORK=$(mktemp -d)
export KUBEBOX=scale$$ KUBEBOX_DIR=$WORK/kubebox
PROXY=
finish() {
  [ -z "$PROXY" ] || kill "$PROXY" 2>/dev/null || true
  "$KUBEBOX_BIN" down --purge >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap finish EXIT
box() { "$KUBEBOX_BIN" exec -- "$@"; }

"$KUBEBOX_BIN" up --name "$KUBEBOX" >"$WORK/env"
"$KUBEBOX_BIN" kubectl apply --server-side -f tests/deploy/kustomize/load-balancer.yaml >/dev/null
"$KUBEBOX_BIN" kubectl -n tidegate scale deployment/tidegate-controller --replicas=0 >/dev/null
"$KUBEBOX_BIN" sa --sa tidegate/tidegate --out "$WORK/own.kubeconfig"
cat >"$WORK/tidegate.yaml" <<CONF
listeners: [ { name: http, address: "10.250.0.200:80", protocol: http } ]
telemetry: { address: "10.250.0.200:10254" }
admin: off
accessLog: off
sources: { kubernetes: { kubeconfig: own.kubeconfig, events: false, leaderElection: off } }
CONF
echo "== $COUNT Ingresses, Services and EndpointSlices, $((COUNT * PODS)) endpoints"
"$KUBEBOX_BIN" churn --services "$COUNT" --pods-per "$PODS" --rate 0 | tail -n 2

start() {
  box ./target/release/tidegate run --conf "$WORK/tidegate.yaml" >"$WORK/log" 2>&1 &
  local begun; begun=$(date +%s%N)
  until box curl -sf -o /dev/null http://10.250.0.200:10254/readyz; do sleep 0.02; done
  echo "ready after $(( ($(date +%s%N) - begun) / 1000000 )) ms"
  PROXY=$(pgrep -f "tidegate run --conf $WORK/tidegate.yaml" | tail -n 1)
}
memory() { awk '/VmRSS|VmHWM/ { printf "%s %d MiB  ", $1, $2 / 1024 } END { print "" }' "/proc/$PROXY/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$PROXY/stat"; }
metrics() { box curl -s http://10.250.0.200:10254/metrics >"$WORK/$1"; }
# The quantiles of what came between two scrapes, as upper bounds of buckets.
propagation() {
  awk '/^tidegate_config_propagation_seconds_bucket/ { match($1, /le="[^"]*"/); le = substr($1, RSTART + 4, RLENGTH - 5)
         if (FILENAME == ARGV[1]) { old[le] = $2 } else { n[++i] = le; new[le] = $2 - old[le] } }
       END { total = new["+Inf"]; for (q = 1; q <= 3; q++) { p = q == 1 ? 0.5 : q == 2 ? 0.99 : 1
         for (j = 1; j <= i; j++) if (new[n[j]] >= p * total) { printf "p%g <= %s s  ", p * 100, n[j]; break } }
         printf "of %d changes\n", total }' "$WORK/$1" "$WORK/$2"
}

start
sleep 2
memory
metrics before
cpu=$(ticks) begun=$(date +%s%N)
"$KUBEBOX_BIN" churn --services 0 --update --rate 50 --rounds 1500 --pods-per "$PODS"
elapsed=$(( ($(date +%s%N) - begun) / 1000000 ))
metrics after
echo "== endpoints changed at 50 a second"
propagation before after
echo "CPU $(( ($(ticks) - cpu) * 1000 / $(getconf CLK_TCK) )) ms in $elapsed ms"
memory

echo "== Ingresses created and deleted, from the write to the first answer that follows it"
mkdir "$WORK/page"
box python3 -m http.server --bind 10.249.0.9 --directory "$WORK/page" 3000 >/dev/null 2>&1 &
ORIGIN=$!
metrics before
"$KUBEBOX_BIN" churn --services 0 --probe http://10.250.0.200 --backend 10.249.0.9:3000 --rounds 50
metrics after
propagation before after
memory
kill "$ORIGIN"
