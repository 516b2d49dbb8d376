{{/* Rules, cut by the place where they hold. */}}

{{/* Objects of watched namespaces, Secrets left out. `get` is for events, which name what they are about. */}}
{{- define "tidegate.routeRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* Names and versions are listed and watched; only those that routes and the conf name are read. */}}
{{- define "tidegate.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end -}}

{{- define "tidegate.classRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [get, list, watch]
{{- end -}}

{{/* In the controller's own namespace: the Lease, and what status takes its addresses from. */}}
{{- define "tidegate.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ .Values.controller.electionID }}]
  verbs: [get, update]
# `create` cannot be limited by name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- if .Values.controller.admissionWebhooks.enabled }}
# The webhook's certificate.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "tidegate.controller" . }}-admission]
  verbs: [get, update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
{{- $published := include "tidegate.publishService" . }}
{{- if not $published }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- else if and .Values.rbac.scope (not .Values.controller.publishService.pathOverride) }}
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ splitList "/" $published | last }}]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* Name of what is there once in the cluster. */}}
{{- define "tidegate.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "tidegate.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.subject" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "tidegate.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* A Role with its binding: `name`, `namespace`, `rules`. */}}
{{- define "tidegate.role" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "tidegate.controllerLabels" .root | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "tidegate.controllerLabels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
{{ include "tidegate.subject" .root }}
{{- end -}}
