{{/* Spec of a Job, of (dict root name args values data): one of the values `refresh` and `training`. */}}
{{- define "drepmrec.jobSpec" -}}
{{- $root := .root -}}
{{- $secret := .root.Values.jobs.storeSecret | default .root.Values.store.existingSecret -}}
{{- $cores := include "drepmrec.cores" .values.resources | quote -}}
backoffLimit: {{ .values.backoffLimit }}
activeDeadlineSeconds: {{ .values.activeDeadlineSeconds }}
podFailurePolicy:
  rules:
    # A node that goes away is no failed attempt; wrong data or options stay wrong (exit code 2),
    # and so does a candidate that the gate refused (3).
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    - action: FailJob
      onExitCodes: {containerName: {{ .name }}, operator: In, values: [2, 3]}
template:
  metadata:
    labels: {{- include "drepmrec.selector" (list .root .name) | nindent 6 }}
  spec:
    {{- include "drepmrec.pod" .root | nindent 4 }}
    serviceAccountName: {{ include "drepmrec.jobsAccountName" .root }}
    restartPolicy: Never
    {{- with .values.nodeSelector }}
    nodeSelector: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .values.tolerations }}
    tolerations: {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: {{ .name }}
        image: {{ include "drepmrec.image" (list .root .root.Values.image.training) }}
        imagePullPolicy: {{ .root.Values.image.pullPolicy }}
        args: {{- concat .args .values.args | toYaml | nindent 10 }}
        {{- with $secret }}
        envFrom: [{secretRef: {name: {{ . }}}}]
        {{- end }}
        env:
          # PyTorch and BLAS would take the node's cores.
          {{- range list "OMP_NUM_THREADS" "OPENBLAS_NUM_THREADS" "MKL_NUM_THREADS" }}
          - {name: {{ . }}, value: {{ $cores }}}
          {{- end }}
          {{- with include "drepmrec.redisEnv" .root }}
          {{- . | nindent 10 }}
          {{- end }}
        resources: {{- toYaml .values.resources | nindent 10 }}
        {{- include "drepmrec.containerSecurity" .root | nindent 8 }}
        volumeMounts:
          - {name: tmp, mountPath: /tmp}
          {{- if eq .root.Values.store.kind "volume" }}
          - {{- include "drepmrec.storeMount" .root | nindent 12 }}
          {{- end }}
          {{- if .values.dataClaim }}
          - {name: data, mountPath: /data, readOnly: true}
          {{- end }}
    volumes:
      - name: tmp
        emptyDir: {sizeLimit: {{ .root.Values.jobs.tmpSize }}}
      {{- if eq .root.Values.store.kind "volume" }}
      - name: store
        {{- include "drepmrec.storeClaim" .root | nindent 8 }}
      {{- end }}
      {{- with .values.dataClaim }}
      - name: data
        persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
      {{- end }}
{{- end }}

{{/* Spec of a CronJob, of the same. */}}
{{- define "drepmrec.cronJobSpec" -}}
{{- with .values -}}
schedule: {{ .schedule | quote }}
timeZone: {{ .timeZone | quote }}
concurrencyPolicy: Forbid
suspend: {{ .suspend }}
startingDeadlineSeconds: {{ .startingDeadlineSeconds }}
successfulJobsHistoryLimit: {{ .successfulJobsHistoryLimit }}
failedJobsHistoryLimit: {{ .failedJobsHistoryLimit }}
{{- end }}
jobTemplate:
  metadata:
    labels: {{- include "drepmrec.selector" (list .root .name) | nindent 6 }}
  spec: {{- include "drepmrec.jobSpec" . | nindent 4 }}
{{- end }}
