#!/usr/bin/env bash
# Checks deploy/: lints, expected output of chart and overlays, refused values, and everything on a real API server.
# Needs Go (builds helm once) or HELM, and kubectl or KUBEBOX_BIN; what is missing is skipped, loudly.
#
#   tests/deploy.sh                          # all that can be done here
#   UPDATE_GOLDEN=1 tests/deploy.sh          # writes the expected output again; review the diff
#   KUBEBOX_BIN=…/kubebox tests/deploy.sh    # starts an API server (root) and applies everything, as a dry run
#   KUBECONFIG=… API_SERVER=1 tests/deploy.sh  # the same with an API server that is there already
# What needs no tool is in tests/deploy.rs: conf files, RBAC, pod security, overlays against chart.
#
# STRICT=1 makes every skip a failure. TOOLS: where helm and CRDs are kept (default ~/.cache/tidegate-tools).
set -euo pipefail
cd "$(dirname "$0")/.."

HELM_VERSION=v3.22.0            # built from its Go module
PROMETHEUS_OPERATOR=v0.85.0     # its Go module has the CRDs of ServiceMonitor and PrometheusRule
KUBE_VERSION=1.34.0             # what charts are rendered for without a server
CHART=deploy/helm/tidegate
TOOLS=${TOOLS:-$HOME/.cache/tidegate-tools}
WORK=$(mktemp -d)
BOX=
NO_MONITORING=
passed=0 failed=0 skipped=0

finish() {
  [ -z "$BOX" ] || "$KUBEBOX_BIN" down --purge >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap finish EXIT

ok()   { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); printf 'FAIL %s\n' "$1"; [ ! -s "${2:-/dev/null}" ] || sed 's/^/     /' "$2" | head -n 40; }
skip() { skipped=$((skipped + 1)); printf 'SKIP %s\n' "$1"; }
# Output is kept in $WORK/out until the next one.
try()  { # try NAME COMMAND…
  local name=$1; shift
  if "$@" >"$WORK/tried" 2>&1; then ok; else fail "$name" "$WORK/tried"; fi
  mv "$WORK/tried" "$WORK/out"
}
lacks() { if grep "$@"; then return 1; fi; }
step() { printf '== %s\n' "$1"; }

# === tools ===

helm_binary() {
  if [ -n "${HELM:-}" ]; then echo "$HELM"; return; fi
  local binary=$TOOLS/helm-$HELM_VERSION
  if [ ! -x "$binary" ]; then
    command -v go >/dev/null || return 1
    mkdir -p "$TOOLS"
    echo "building helm $HELM_VERSION" >&2
    (cd / && GOBIN=$WORK/bin nice go install "helm.sh/helm/v3/cmd/helm@$HELM_VERSION") >&2 || return 1
    mv "$WORK/bin/helm" "$binary"
  fi
  echo "$binary"
}

kubectl_() {
  if [ -n "$BOX" ]; then "$KUBEBOX_BIN" kubectl "$@"; else kubectl "$@"; fi
}

render() { "$HELM_BINARY" template tidegate "$CHART" --namespace tidegate --kube-version "$KUBE_VERSION" -f "$1"; }

# Compares with the expected file, or writes it.
expect() { # expect NAME FOUND EXPECTED
  if [ -n "${UPDATE_GOLDEN:-}" ]; then cp "$2" "$3"; ok; return; fi
  if diff -u "$3" "$2" >"$WORK/diff"; then ok; else fail "$1: differs from $3 (UPDATE_GOLDEN=1 writes it)" "$WORK/diff"; fi
}

# === steps ===

check_chart() {
  step "chart"
  HELM_BINARY=$(helm_binary) || { HELM_BINARY=; skip "chart: HELM is not given, and Go is not here or cannot build it"; return; }
  try "helm lint" "$HELM_BINARY" lint --strict "$CHART"
  local case refused reason
  for case in tests/deploy/helm/*/; do
    case=$(basename "$case")
    try "helm lint: $case" "$HELM_BINARY" lint --strict --quiet "$CHART" -f "tests/deploy/helm/$case/values.yaml"
    if render "tests/deploy/helm/$case/values.yaml" >"$WORK/$case.yaml" 2>"$WORK/out"; then
      expect "helm template: $case" "$WORK/$case.yaml" "tests/deploy/helm/$case/expected.yaml"
    else
      fail "helm template: $case" "$WORK/out"
    fi
  done
  for case in deploy/examples/*/values*.yaml; do
    try "helm template: $case" render "$case"
    cp "$WORK/out" "$WORK/example-$(echo "$case" | tr / -)"
  done
  for refused in tests/deploy/refused/*.yaml; do
    reason=$(sed -n '1s/^# //p' "$refused")
    if render "$refused" >"$WORK/out" 2>&1; then
      fail "$refused is accepted"
    elif grep -qF -- "$reason" "$WORK/out"; then ok; else fail "$refused: does not say \`$reason\`" "$WORK/out"; fi
  done
}

check_overlays() {
  step "overlays"
  if [ -z "$BOX" ] && ! command -v kubectl >/dev/null; then skip "overlays: no kubectl"; return; fi
  local overlay
  for overlay in deploy/kustomize/overlays/*/; do
    overlay=$(basename "$overlay")
    if kubectl_ kustomize "deploy/kustomize/overlays/$overlay" >"$WORK/kustomize-$overlay.yaml" 2>"$WORK/out"; then
      expect "kustomize: $overlay" "$WORK/kustomize-$overlay.yaml" "tests/deploy/kustomize/$overlay.yaml"
    else
      fail "kustomize: $overlay" "$WORK/out"
    fi
  done
}

# What a linter of Dockerfiles looks for, as far as it can be seen without a daemon.
check_dockerfile() {
  step "Dockerfile"
  local file=deploy/Dockerfile image
  if command -v hadolint >/dev/null; then try "hadolint" hadolint "$file"; else skip "hadolint is not here; the rules below are"; fi
  while read -r image; do
    case $image in
      scratch | build | *@sha256:*) ok ;;
      *:latest | *:*[!0-9a-z._-]*) fail "base image $image is not pinned" ;;
      *:*[0-9]*) ok ;;
      *) fail "base image $image is not pinned" ;;
    esac
  done < <(sed -nE 's/^FROM +(--[^ ]+ +)*\$\{RUST_IMAGE\}.*//; s/^ARG RUST_IMAGE=//p; s/^FROM +(--[^ ]+ +)*([^ ]+).*/\2/p' "$file")
  try "the last stage runs as a numeric account that is not root" \
    awk '/^FROM/ { user = "" } /^USER/ { user = $2 } END { exit user !~ /^[1-9][0-9]*:[1-9][0-9]*$/ }' "$file"
  try "ENTRYPOINT and CMD are lists" awk '/^(ENTRYPOINT|CMD)/ && $2 !~ /^\[/ { bad = 1 } END { exit bad }' "$file"
  try "nothing is fetched by ADD" awk '/^ADD / { bad = 1 } END { exit bad }' "$file"
  try "dependencies are locked" grep -q 'cargo build --locked' "$file"
  local version
  version=$(sed -nE '/^\[workspace.package\]/,/^\[/ s/^version = "(.*)"/\1/p' Cargo.toml)
  try "the image's version is the crate's, $version" grep -q "^ARG VERSION=$version\$" "$file"
  local path
  while read -r path; do
    try "the build context has $path" test -e "$path"
  done < <(sed -n 's/^!//p' deploy/Dockerfile.dockerignore)
}

start_server() {
  if [ -n "${API_SERVER:-}" ]; then return 0; fi
  [ -n "${KUBEBOX_BIN:-}" ] || { skip "API server: neither KUBEBOX_BIN nor API_SERVER is given"; return 1; }
  [ "$(id -u)" = 0 ] || { skip "API server: kubebox needs root"; return 1; }
  export KUBEBOX=deploy$$ KUBEBOX_DIR=$WORK/kubebox
  if "$KUBEBOX_BIN" up --name "$KUBEBOX" >"$WORK/env" 2>"$WORK/out"; then BOX=$KUBEBOX; return 0; fi
  BOX=$KUBEBOX
  fail "kubebox up" "$WORK/out"
  return 1
}

# The CRDs that ServiceMonitor and PrometheusRule need.
install_monitoring() {
  command -v go >/dev/null || return 1
  local folder kind
  folder=$(cd / && go mod download -json "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  for kind in servicemonitors prometheusrules; do
    kubectl_ apply --server-side -f "$folder/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" || return 1
  done
  kubectl_ wait --for=condition=Established --timeout=60s \
    crd/servicemonitors.monitoring.coreos.com crd/prometheusrules.monitoring.coreos.com
}

# Strict: a field that the server does not know is refused.
apply() {
  local file=$1
  if [ -n "$NO_MONITORING" ]; then
    awk 'BEGIN { RS = "---\n"; ORS = "---\n" } !/monitoring.coreos.com/' "$1" >"$WORK/applied.yaml"
    file=$WORK/applied.yaml
  fi
  kubectl_ apply --server-side --dry-run=server --validate=strict -f "$file"
}

check_server() {
  step "API server"
  start_server || return 0
  local namespace file
  for namespace in tidegate team-a team-b; do
    kubectl_ create namespace "$namespace" >"$WORK/out" 2>&1 || true
  done
  # The server warns of each pod that the level `restricted` would refuse.
  try "pod security of the namespace" kubectl_ label namespace tidegate pod-security.kubernetes.io/warn=restricted
  if ! install_monitoring >"$WORK/out" 2>&1; then
    NO_MONITORING=1
    skip "ServiceMonitor and PrometheusRule: no CRDs"
    tail -n 3 "$WORK/out" | sed 's/^/     /'
  fi
  for file in tests/deploy/helm/*/expected.yaml tests/deploy/kustomize/*.yaml deploy/examples/*/manifests.yaml "$WORK"/example-*; do
    [ -s "$file" ] || continue
    try "server takes $file" apply "$file"
    case $file in
      # The node's network and ports, and containers that are not the chart's.
      *host-* | *everything*) try "pods of $file are not restricted" grep -q 'would violate PodSecurity' "$WORK/out" ;;
      *) try "pods of $file are restricted" lacks 'would violate PodSecurity' "$WORK/out" ;;
    esac
  done
  check_life
}

helm_() {
  if [ -n "$BOX" ]; then "$KUBEBOX_BIN" exec -- "$HELM_BINARY" "$@"; else "$HELM_BINARY" "$@"; fi
}

is_published() { kubectl_ -n tidegate get service tidegate-controller -o 'jsonpath={.status.loadBalancer.ingress}' | grep -q .; }

wait_until() { # wait_until SECONDS COMMAND…
  local end=$((SECONDS + $1)); shift
  until "$@" 2>/dev/null; do [ $SECONDS -lt $end ] || return 1; sleep 0.2; done
}

# Installed for real, changed, and taken away; the overlay too.
check_life() {
  step "install, upgrade, uninstall"
  if [ -n "${HELM_BINARY:-}" ]; then
    # An API server built from its module does not know its version.
    local chart=$WORK/chart
    cp -r "$CHART" "$chart"
    sed -i '/^kubeVersion:/d' "$chart/Chart.yaml"
    try "helm install" helm_ install tidegate "$chart" --namespace tidegate
    try "its notes name the class" grep -q 'ingressClassName: tidegate' "$WORK/out"
    try "Deployment available" kubectl_ -n tidegate rollout status deployment/tidegate-controller --timeout=60s
    [ -z "$BOX" ] || try "Service has an address" wait_until 30 is_published
    check_rights
    local before after
    before=$(restarts_by || true)
    try "helm upgrade: conf" helm_ upgrade tidegate "$chart" --namespace tidegate --set conf.defaults.attempts=2
    after=$(restarts_by || true)
    try "a change of the conf restarts nothing" test "$before" = "$after"
    try "helm upgrade: listeners" helm_ upgrade tidegate "$chart" --namespace tidegate \
      --set 'conf.listeners[0].name=http,conf.listeners[0].protocol=http,conf.listeners[0].address=0.0.0.0:8081'
    after=$(restarts_by || true)
    try "a change of a listener restarts nothing" test "$before" = "$after"
    try "helm upgrade: threads" helm_ upgrade tidegate "$chart" --namespace tidegate --set conf.threads=2
    after=$(restarts_by || true)
    try "a change of what is read at start restarts pods" test "$before" != "$after"
    try "helm uninstall" helm_ uninstall tidegate --namespace tidegate --wait
  else
    skip "helm install: neither HELM nor Go is here"
  fi
  try "apply the overlay" kubectl_ apply --server-side -f tests/deploy/kustomize/load-balancer.yaml
  try "Deployment of the overlay available" kubectl_ -n tidegate rollout status deployment/tidegate-controller --timeout=60s
  [ -n "${HELM_BINARY:-}" ] || check_rights
  try "delete the overlay" kubectl_ delete --wait=false -f tests/deploy/kustomize/load-balancer.yaml
}

# What, when changed, restarts the pods.
restarts_by() { kubectl_ -n tidegate get deployment tidegate-controller -o 'jsonpath={.spec.template}'; }

# The shipped account on the server: what it may, and what it must not.
check_rights() {
  step "rights"
  local account=system:serviceaccount:tidegate:tidegate
  may() { try "may $*" kubectl_ auth can-i --as "$account" "$@"; }
  must_not() {
    if kubectl_ auth can-i --as "$account" "$@" >"$WORK/out" 2>&1; then fail "may $*, and must not"; else ok; fi
  }
  local resource verb
  for resource in ingresses ingressclasses services endpointslices secrets; do
    for verb in list watch; do may "$verb" "$resource" -A; done
    for verb in create update patch delete; do must_not "$verb" "$resource" -A; done
  done
  may patch ingresses --subresource=status -A
  must_not update ingresses --subresource=status -A
  may create events.events.k8s.io -A
  may create leases -n tidegate
  for verb in get update; do may "$verb" leases/tidegate-leader -n tidegate; done
  must_not update leases/another -n tidegate
  must_not get leases/tidegate-leader -n default
  for resource in pods nodes deployments persistentvolumes serviceaccounts configmaps namespaces events; do must_not list "$resource" -A; done
  must_not create pods --subresource=exec -A
  must_not create serviceaccounts --subresource=token -A
  must_not '*' '*' -A
}

check_chart
check_overlays
check_dockerfile
check_server

printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ] && { [ -z "${STRICT:-}" ] || [ "$skipped" = 0 ]; }
