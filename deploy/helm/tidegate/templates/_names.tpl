{{/* Names and labels. Selectors hold name, instance and component only: they can never change. */}}

{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "tidegate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tidegate.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.controller" -}}
{{- printf "%s-%s" (include "tidegate.fullname" .) .Values.controller.name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.defaultBackend" -}}
{{- printf "%s-%s" (include "tidegate.fullname" .) .Values.defaultBackend.name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tidegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.watchedNamespace" -}}
{{- default .Release.Namespace .Values.controller.scope.namespace -}}
{{- end -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "tidegate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "tidegate.name" .root }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of the controller's objects. */}}
{{- define "tidegate.controllerLabels" -}}
{{ include "tidegate.labels" (dict "root" . "component" "controller") }}
{{- with .Values.controller.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.controllerSelector" -}}
{{ include "tidegate.selector" (dict "root" . "component" "controller") }}
{{- end -}}

{{- define "tidegate.defaultBackendLabels" -}}
{{ include "tidegate.labels" (dict "root" . "component" "default-backend") }}
{{- with .Values.defaultBackend.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.defaultBackendSelector" -}}
{{ include "tidegate.selector" (dict "root" . "component" "default-backend") }}
{{- end -}}

{{/* registry/image:tag@digest of `image`; an empty tag is the chart's appVersion. */}}
{{- define "tidegate.image" -}}
{{- $image := .image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.image }}:{{ default .root.Chart.AppVersion $image.tag -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* namespace/name of the Service whose addresses go into status; empty: the addresses of nodes do. */}}
{{- define "tidegate.publishService" -}}
{{- $c := .Values.controller -}}
{{- if $c.publishService.enabled -}}
{{- if $c.publishService.pathOverride -}}
{{- $c.publishService.pathOverride -}}
{{- else if and $c.service.enabled $c.service.external.enabled -}}
{{- printf "%s/%s" .Release.Namespace (include "tidegate.controller" .) -}}
{{- else if and $c.service.enabled $c.service.internal.enabled -}}
{{- printf "%s/%s-internal" .Release.Namespace (include "tidegate.controller" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
