#!/usr/bin/env bash
# Tests against a real API server, in one command.
#
#   KUBEBOX_BIN=…/kubebox tests/kube.sh      # brings one up in a network namespace of its own (root), and takes it away
#   TIDEGATE_KUBECONFIG=… TIDEGATE_ADMIN_KUBECONFIG=… tests/kube.sh   # uses one that is there; pods must be reachable
# The shipped manifests are applied, and tidegate runs with their ServiceAccount. What is not here is skipped, loudly.
# Arguments are names of tests; default all.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- real conformance

if [ -n "${TIDEGATE_KUBECONFIG:-}" ]; then
  exec cargo test --test kubernetes -- "$@"
fi
if [ -z "${KUBEBOX_BIN:-}" ] || [ "$(id -u)" != 0 ]; then
  echo "SKIPPED: no cluster; give TIDEGATE_KUBECONFIG, or KUBEBOX_BIN and root"
  exit 0
fi

WORK=$(mktemp -d)
export KUBEBOX=kube$$ KUBEBOX_DIR=$WORK/kubebox
finish() {
  "$KUBEBOX_BIN" down --purge >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap finish EXIT

# The binary of the tests, and the program beside it.
BINARY=$(cargo test --no-run --test kubernetes --message-format=json | sed -n 's/.*"executable":"\([^"]*kubernetes-[^"]*\)".*/\1/p' | tail -n 1)
[ -x "$BINARY" ]

"$KUBEBOX_BIN" up --name "$KUBEBOX" >"$WORK/env"
"$KUBEBOX_BIN" kubectl apply --server-side -f tests/deploy/kustomize/load-balancer.yaml >"$WORK/out" || { cat "$WORK/out"; exit 1; }
# Its pods are stand-ins here; the account and its rights are what counts.
"$KUBEBOX_BIN" kubectl -n tidegate scale deployment/tidegate-controller --replicas=0 >/dev/null
"$KUBEBOX_BIN" sa --sa tidegate/tidegate --out "$WORK/own.kubeconfig"
export TIDEGATE_KUBECONFIG=$WORK/own.kubeconfig TIDEGATE_ADMIN_KUBECONFIG=$WORK/kubebox/admin.kubeconfig
"$KUBEBOX_BIN" exec -- env TIDEGATE_KUBECONFIG="$TIDEGATE_KUBECONFIG" TIDEGATE_ADMIN_KUBECONFIG="$TIDEGATE_ADMIN_KUBECONFIG" \
  POD_NAMESPACE=tidegate "$BINARY" "$@"
