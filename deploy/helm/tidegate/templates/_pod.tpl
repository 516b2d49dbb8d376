{{/* The controller's pod, the same for Deployment and DaemonSet. */}}
{{- define "tidegate.pod" -}}
{{- $c := .Values.controller -}}
{{- $lowPorts := include "tidegate.lowPorts" . -}}
metadata:
  annotations:
    tidegate.io/restart-checksum: {{ include "tidegate.restartChecksum" . }}
    {{- with $c.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "tidegate.controllerLabels" . | nindent 4 }}
    {{- with $c.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "tidegate.serviceAccount" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
  terminationGracePeriodSeconds: {{ $c.terminationGracePeriodSeconds }}
  dnsPolicy: {{ $c.dnsPolicy }}
  {{- with $c.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $c.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with $c.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $c.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ $c.containerName }}
      image: {{ include "tidegate.image" (dict "root" . "image" $c.image) | quote }}
      imagePullPolicy: {{ $c.image.pullPolicy }}
      {{- if $lowPorts }}
      command: [/low-ports/tidegate]
      {{- end }}
      args:
        - run
        - --conf=/etc/tidegate/tidegate.yaml
      env:
        - name: POD_NAME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        - name: POD_NAMESPACE
          valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
        # Since Kubernetes 1.35 Pods have the zone of their node as a label; before it is empty.
        - name: TIDEGATE_ZONE
          valueFrom: { fieldRef: { fieldPath: "metadata.labels['topology.kubernetes.io/zone']" } }
        {{- with $c.extraEnvs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ $c.containerPort.http }}
          protocol: TCP
          {{- if $c.hostPort.enabled }}
          hostPort: {{ $c.hostPort.ports.http }}
          {{- end }}
        - name: https
          containerPort: {{ $c.containerPort.https }}
          protocol: TCP
          {{- if $c.hostPort.enabled }}
          hostPort: {{ $c.hostPort.ports.https }}
          {{- end }}
        - name: metrics
          containerPort: {{ $c.metrics.port }}
          protocol: TCP
        {{- if $c.admin.enabled }}
        - name: admin
          containerPort: {{ $c.admin.port }}
          protocol: TCP
        {{- end }}
        {{- if $c.admissionWebhooks.enabled }}
        - name: webhook
          containerPort: {{ $c.admissionWebhooks.port }}
          protocol: TCP
        {{- end }}
      {{- with $c.startupProbe }}
      startupProbe:
        {{- include "tidegate.probe" (dict "root" $ "probe" .) | nindent 8 }}
      {{- end }}
      {{- with $c.livenessProbe }}
      livenessProbe:
        {{- include "tidegate.probe" (dict "root" $ "probe" .) | nindent 8 }}
      {{- end }}
      {{- with $c.readinessProbe }}
      readinessProbe:
        {{- include "tidegate.probe" (dict "root" $ "probe" .) | nindent 8 }}
      {{- end }}
      {{- $security := deepCopy $c.containerSecurityContext }}
      {{- if $lowPorts }}
      {{- $capabilities := default dict $security.capabilities }}
      {{- $added := append (default list $capabilities.add) "NET_BIND_SERVICE" | uniq }}
      {{- $_ := set $security "capabilities" (merge (dict "add" $added) $capabilities) }}
      {{- end }}
      {{- with $security }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $c.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        # The folder, not the file: changes of the ConfigMap arrive in it.
        - name: conf
          mountPath: /etc/tidegate
          readOnly: true
        {{- with $c.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $c.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: conf
      configMap:
        name: {{ include "tidegate.controller" . }}
    {{- with $c.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $c.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.affinity }}
  affinity:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  {{- if $c.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- tpl (toYaml $c.topologySpreadConstraints) . | nindent 4 }}
  {{- else if eq $c.kind "Deployment" }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tidegate.controllerSelector" $ | nindent 10 }}
      # Only pods of the same rollout are counted.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end -}}
