{{/* The conf file: what the values say, with `conf` merged over it. */}}

{{/* Fails by name for every ConfigMap key and flag of ingress-nginx that is not read, with what to do about it. */}}
{{- define "tidegate.refuseForeign" -}}
{{- $known := .Files.Get "ingress-nginx.yaml" | fromYaml -}}
{{- $told := list -}}
{{- range $key, $value := .Values.controller.config -}}
{{- if has $key $known.sections -}}
{{- $told = append $told (printf "controller.config.%s: a section of tidegate's conf belongs under `conf.%s`" $key $key) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $told = append $told (printf "controller.config.%s: %s" $key (default "it is not read; leave it out" (get $known.config $key))) -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := omit .Values.controller.extraArgs "default-ssl-certificate" "annotations-prefix" -}}
{{- $told = append $told (printf "controller.extraArgs.%s: %s" $key (default "there is no such flag; leave it out" (get $known.args $key))) -}}
{{- end -}}
{{- if $told -}}
{{- fail (printf "what these values say must be said otherwise, or not at all (docs/deploy.md):\n%s" (join "\n" $told)) -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.address" -}}
{{- if contains ":" .address }}[{{ .address }}]:{{ .port }}{{ else }}{{ .address }}:{{ .port }}{{ end -}}
{{- end -}}

{{/* Where telemetry listens. On the node's network its port would be open to whoever reaches the node. */}}
{{- define "tidegate.telemetryAddress" -}}
{{- $c := .Values.controller -}}
{{- if $c.metrics.address -}}{{- $c.metrics.address -}}
{{- else if not $c.hostNetwork -}}{{- $c.listenAddress -}}
{{- else if $c.metrics.enabled -}}
{{- fail "controller.metrics: with `hostNetwork` telemetry listens on the node's loopback, where no Service leads; give `controller.metrics.address` (0.0.0.0 is open to whoever reaches the node) and filter its port there" -}}
{{- else -}}127.0.0.1{{- end -}}
{{- end -}}

{{/* A probe as it is, or asked of the loopback address where telemetry listens on that only. */}}
{{- define "tidegate.probe" -}}
{{- $probe := deepCopy .probe -}}
{{- $address := include "tidegate.telemetryAddress" .root -}}
{{- if and (has $address (list "127.0.0.1" "::1")) $probe.httpGet (not $probe.httpGet.host) -}}
{{- $_ := set $probe.httpGet "host" $address -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{- define "tidegate.conf" -}}
{{- include "tidegate.refuseForeign" . -}}
{{- $c := .Values.controller -}}
{{- if and $c.scope.enabled $c.scope.namespaceSelector -}}
{{- fail "controller.scope: `enabled` names one namespace and `namespaceSelector` picks several; give one of them" -}}
{{- end -}}
{{- $http := dict "name" "http" "protocol" "http" "address" (include "tidegate.address" (dict "address" $c.listenAddress "port" $c.containerPort.http)) -}}
{{- $https := dict "name" "https" "protocol" "https" "address" (include "tidegate.address" (dict "address" $c.listenAddress "port" $c.containerPort.https)) -}}
{{- $telemetry := dict "address" (include "tidegate.address" (dict "address" (include "tidegate.telemetryAddress" .) "port" $c.metrics.port)) -}}
{{- $admin := ternary (dict "address" (printf "127.0.0.1:%v" $c.admin.port)) "off" $c.admin.enabled -}}
{{- $kubernetes := dict "leaderElection" (dict "lease" $c.electionID) -}}
{{- if $c.scope.enabled -}}
{{- $_ := set $kubernetes "namespaces" (list (include "tidegate.watchedNamespace" .)) -}}
{{- else if $c.scope.namespaceSelector -}}
{{- $_ := set $kubernetes "namespaceSelector" $c.scope.namespaceSelector -}}
{{- end -}}
{{- with .Values.rbac.secretNamespaces -}}{{- $_ := set $kubernetes "secretNamespaces" . -}}{{- end -}}
{{- $ingress := dict "className" $c.ingressClass "controllers" (list $c.ingressClassResource.controllerValue) -}}
{{- if $c.watchIngressWithoutClass -}}{{- $_ := set $ingress "watchWithoutClass" true -}}{{- end -}}
{{- $defaults := dict -}}
{{- with get $c.extraArgs "default-ssl-certificate" -}}{{- $_ := set $defaults "certificate" . -}}{{- end -}}
{{- with get $c.extraArgs "annotations-prefix" -}}{{- $_ := set $ingress "annotationsPrefix" . -}}{{- end -}}
{{- if .Values.defaultBackend.enabled -}}
{{- $_ := set $defaults "backend" (printf "%s/%s:%v" .Release.Namespace (include "tidegate.defaultBackend" .) .Values.defaultBackend.service.servicePort) -}}
{{- end -}}
{{- $status := dict -}}
{{- /* The conf may say itself where the addresses come from: there is one source of them. */ -}}
{{- $given := get (get .Values.conf "ingress" | default dict) "status" | default dict -}}
{{- if not (or (hasKey $given "publishService") (hasKey $given "addresses") (hasKey $given "nodeAddresses")) -}}
{{- with include "tidegate.publishService" . -}}
{{- $_ := set $status "publishService" . -}}
{{- else -}}
{{- $_ := set $status "nodeAddresses" (ternary "internal" "external" $c.reportNodeInternalIp) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $ingress "status" $status -}}
{{- $timeout := sub (int $c.terminationGracePeriodSeconds) 15 -}}
{{- $shutdown := dict "delay" "10s" "timeout" (printf "%ds" (max 1 $timeout)) -}}
{{- $conf := dict "listeners" (list $http $https) "telemetry" $telemetry "admin" $admin "sources" (dict "kubernetes" $kubernetes) "ingress" $ingress "shutdown" $shutdown -}}
{{- if $defaults -}}{{- $_ := set $conf "defaults" $defaults -}}{{- end -}}
{{- if $c.admissionWebhooks.enabled -}}
{{- $admission := dict "address" (include "tidegate.address" (dict "address" $c.listenAddress "port" $c.admissionWebhooks.port)) -}}
{{- $_ := set $admission "service" (printf "%s/%s-admission" .Release.Namespace (include "tidegate.controller" .)) -}}
{{- $_ := set $admission "secret" (printf "%s-admission" (include "tidegate.controller" .)) -}}
{{- $_ := set $admission "webhookConfiguration" (include "tidegate.clusterName" .) -}}
{{- $_ := set $conf "admission" $admission -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $conf (deepCopy .Values.conf)) -}}
{{- end -}}

{{/* Whether a port of the container needs a capability; empty: no. */}}
{{- define "tidegate.lowPorts" -}}
{{- $ports := .Values.controller.containerPort -}}
{{- if or (lt (int $ports.http) 1024) (lt (int $ports.https) 1024) }}true{{ end -}}
{{- end -}}

{{/* Changes with what tidegate reads at start only, so that nothing else restarts pods. */}}
{{- define "tidegate.restartChecksum" -}}
{{- $conf := include "tidegate.conf" . | fromYaml -}}
{{- $read := pick $conf "threads" "telemetry" "admin" "admission" -}}
{{- $sources := get $conf "sources" | default dict -}}
{{- $_ := set $read "sources" (dict "files" (hasKey $sources "files") "kubernetes" (get $sources "kubernetes")) -}}
{{- $_ := set $read "log" (pick (get $conf "log" | default dict) "path" "format") -}}
{{- $_ := set $read "status" (get (get $conf "ingress" | default dict) "status") -}}
{{- toJson $read | sha256sum -}}
{{- end -}}
