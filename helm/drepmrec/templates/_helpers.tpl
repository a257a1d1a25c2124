{{/* Name of all objects. At most 43 characters, so that `-training-<8 digits>` fits into the 63 of a
Job's name and `-training` into the 52 of a CronJob's. */}}
{{- define "drepmrec.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $full | trunc 43 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that select pods, for (list root component). They must never change: Kubernetes refuses to
change the selector of a Deployment. */}}
{{- define "drepmrec.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Values.nameOverride | default $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object, for (list root component). */}}
{{- define "drepmrec.labels" -}}
{{- $root := index . 0 -}}
{{ include "drepmrec.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Service account of the service's pods. */}}
{{- define "drepmrec.serviceAccountName" -}}
{{- with .Values.serviceAccount -}}
{{- .name | default (ternary (include "drepmrec.fullname" $) "default" .create) -}}
{{- end -}}
{{- end }}

{{/* Service account of the pods of refresh and training. */}}
{{- define "drepmrec.jobsAccountName" -}}
{{- with .Values.jobs.serviceAccount -}}
{{- .name | default (ternary (printf "%s-jobs" (include "drepmrec.fullname" $)) "default" .create) -}}
{{- end -}}
{{- end }}

{{/* Reference of an image, for (list root image). */}}
{{- define "drepmrec.image" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Settings of every pod: the restricted Pod Security profile, no API token, no environment variables
for Services. */}}
{{- define "drepmrec.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- range $name, $id := .Values.podSecurity }}
  {{- if kindIs "slice" $id }}
  {{- with $id }}
  {{ $name }}: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- else if not (kindIs "invalid" $id) }}
  {{ $name }}: {{ int64 $id }}
  {{- end }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Security context of every container. */}}
{{- define "drepmrec.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Number of whole cores of a container's resources: its CPU limit or, without a limit, its CPU
request; at least 1. */}}
{{- define "drepmrec.cores" -}}
{{- max 1 (floor (include "drepmrec.cpu" (dig "limits" "cpu" (dig "requests" "cpu" "1" .) .)) | int) -}}
{{- end }}

{{/* Number of cores of a quantity, such as 1.5 of `1500m`. */}}
{{- define "drepmrec.cpu" -}}
{{- $cpu := toString . -}}
{{- ternary (divf (trimSuffix "m" $cpu) 1000) $cpu (hasSuffix "m" $cpu) -}}
{{- end }}

{{/* Whether more than the cluster's own pods may reach the service: the text `true`, or nothing. */}}
{{- define "drepmrec.exposed" -}}
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled (ne .Values.service.type "ClusterIP") -}}
true
{{- end -}}
{{- end }}

{{/* Whether the service has a Redis: the text `true`, or nothing. */}}
{{- define "drepmrec.hasRedis" -}}
{{- with .Values.redis -}}
{{- if or .url .existingSecret.name .bundled.enabled -}}
true
{{- end -}}
{{- end -}}
{{- end }}

{{/* Settings that the service and the refresh share, as environment variables: what is not in the
ConfigMap, which both are given. */}}
{{- define "drepmrec.sharedEnv" -}}
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
{{- range .Values.extraEnv -}}
{{- if hasPrefix "DREPMREC_" .name }}
- {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Mounts of files that these settings name. */}}
{{- define "drepmrec.sharedMounts" -}}
{{- if .Values.state.existingClaim }}
- {name: state, mountPath: /state}
{{- end }}
{{- if .Values.redis.tls.existingSecret }}
- {name: redis-tls, mountPath: /etc/drepmrec/redis, readOnly: true}
{{- end }}
{{- end }}

{{/* Volumes of these mounts. */}}
{{- define "drepmrec.sharedVolumes" -}}
{{- with .Values.state.existingClaim }}
- name: state
  persistentVolumeClaim: {claimName: {{ . }}}
{{- end }}
{{- with .Values.redis.tls.existingSecret }}
- name: redis-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{/* Resource versions of the Secrets that the service uses, as far as Helm may read them. They change
with the Secrets. A digest of the content would allow guessing it. */}}
{{- define "drepmrec.secretVersions" -}}
{{- with .Values -}}
{{- range $name := list .store.existingSecret .redis.existingSecret.name .redis.tls.existingSecret .apiKeys.existingSecret.name -}}
{{- if $name -}}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace $name -}}
{{ $name }}={{ dig "metadata" "resourceVersion" "unknown" $secret }};
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Address of the store: its URL, or the path at which containers mount the volume. */}}
{{- define "drepmrec.store" -}}
{{- ternary .Values.store.url "/store" (eq .Values.store.kind "url") -}}
{{- end }}

{{/* Source of the store's volume. */}}
{{- define "drepmrec.storeClaim" -}}
persistentVolumeClaim:
  claimName: {{ .Values.store.volume.existingClaim | default (printf "%s-store" (include "drepmrec.fullname" .)) }}
{{- end }}

{{/* Mount of the store's volume. */}}
{{- define "drepmrec.storeMount" -}}
name: store
mountPath: /store
{{- with .Values.store.volume.subPath }}
subPath: {{ . }}
{{- end }}
{{- end }}
