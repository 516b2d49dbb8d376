{{/* The Service that clients reach: `name`, and `service` with the values that are its own. */}}
{{- define "tidegate.service" -}}
{{- $all := .root.Values.controller.service -}}
{{- $service := .service -}}
{{- $type := default $all.type $service.type -}}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tidegate.controllerLabels" .root | nindent 4 }}
    {{- with $all.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $type }}
  {{- range $field := list "clusterIP" "loadBalancerIP" "loadBalancerClass" "externalTrafficPolicy" "sessionAffinity" "ipFamilyPolicy" "healthCheckNodePort" }}
  {{- with get $service $field }}
  {{ $field }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- range $field := list "externalIPs" "loadBalancerSourceRanges" "ipFamilies" }}
  {{- with get $service $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  ports:
    {{- range $name := list "http" "https" }}
    {{- if get $all (printf "enable%s" (title $name)) }}
    - name: {{ $name }}
      port: {{ get $all.ports $name }}
      targetPort: {{ get $all.targetPorts $name }}
      protocol: TCP
      {{- if $all.appProtocol }}
      appProtocol: {{ $name }}
      {{- end }}
      {{- with get (default dict $service.nodePorts) $name }}
      nodePort: {{ . }}
      {{- end }}
    {{- end }}
    {{- end }}
  selector:
    {{- include "tidegate.controllerSelector" .root | nindent 4 }}
{{- end -}}
