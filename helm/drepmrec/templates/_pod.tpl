{{/* What every pod has: the restricted profile of pod security, no token, no variables of Services. */}}
{{- define "drepmrec.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- range $name, $id := .Values.podSecurity }}
  {{- if not (kindIs "invalid" $id) }}
  {{ $name }}: {{ int64 $id }}
  {{- end }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container has. */}}
{{- define "drepmrec.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Whole cores of a container's limit, of its request where it has no limit; at least 1. */}}
{{- define "drepmrec.cores" -}}
{{- $cpu := dig "limits" "cpu" (dig "requests" "cpu" "1" .) . | toString -}}
{{- $cores := ternary (divf (trimSuffix "m" $cpu) 1000) $cpu (hasSuffix "m" $cpu) -}}
{{- max 1 (floor $cores | int) -}}
{{- end }}

{{/* How to reach Redis, as variables of service and jobs. */}}
{{- define "drepmrec.redisEnv" -}}
{{- with .Values.redis -}}
{{- if .existingSecret.name -}}
- name: DREPMREC_REDIS_URL
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret.name }}, key: {{ .existingSecret.key }}}
{{- else if .bundled.enabled -}}
- name: DREPMREC_REDIS_URL
  value: redis://{{ include "drepmrec.fullname" $ }}-redis:6379/0
{{- else if .url -}}
- name: DREPMREC_REDIS_URL
  value: {{ .url | quote }}
{{- end -}}
{{- if .cluster }}
- {name: DREPMREC_REDIS_CLUSTER, value: "true"}
{{- end -}}
{{- with .sentinel }}
- {name: DREPMREC_REDIS_SENTINEL, value: {{ . | quote }}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Changes when a Secret does, as far as Helm may read it. Its resource version, not a digest of
its content, which could be guessed from. */}}
{{- define "drepmrec.secretVersions" -}}
{{- with .Values -}}
{{- range $name := list .store.existingSecret .redis.existingSecret.name .apiKeys.existingSecret.name -}}
{{- if $name -}}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace $name -}}
{{ $name }}={{ dig "metadata" "resourceVersion" "unknown" $secret }};
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
