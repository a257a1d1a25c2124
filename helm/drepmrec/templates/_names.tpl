{{/* Short enough for `-training-<8 digits>` to fit into the 63 letters of a Job, and `-training`
into the 52 of a CronJob. */}}
{{- define "drepmrec.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $full | trunc 43 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that select pods, of (list root component). They never change: Kubernetes refuses it. */}}
{{- define "drepmrec.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Values.nameOverride | default $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "drepmrec.labels" -}}
{{- $root := index . 0 -}}
{{ include "drepmrec.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "drepmrec.serviceAccountName" -}}
{{- with .Values.serviceAccount -}}
{{- .name | default (ternary (include "drepmrec.fullname" $) "default" .create) -}}
{{- end -}}
{{- end }}

{{- define "drepmrec.jobsAccountName" -}}
{{- with .Values.jobs.serviceAccount -}}
{{- .name | default (ternary (printf "%s-jobs" (include "drepmrec.fullname" $)) "default" .create) -}}
{{- end -}}
{{- end }}

{{/* Of (list root image). */}}
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
