{{/* Spec of a Job, for (dict root name args values); `values` are those of `refresh` or `training`. The
name of the training Job is a hash of this text, comments included. It has no
`ttlSecondsAfterFinished`: Helm deletes a Job that the values no longer describe, and would run one
that is gone again at the next upgrade. */}}
{{- define "drepmrec.jobSpec" -}}
{{- $root := .root -}}
{{- $refresh := eq .name "refresh" -}}
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
    {{- if and $refresh .root.Values.state.existingClaim }}
    # Processes of one node share a SQLite file, those of several nodes do not.
    affinity:
      podAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          - topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels: {{- include "drepmrec.selector" (list .root "service") | nindent 16 }}
    {{- end }}
    containers:
      - name: {{ .name }}
        image: {{ include "drepmrec.image" (list .root (index .root.Values.image .name)) }}
        imagePullPolicy: {{ .root.Values.image.pullPolicy }}
        args: {{- concat .args .values.args | toYaml | nindent 10 }}
        {{- if or $refresh $secret }}
        envFrom:
          {{- if $refresh }}
          - configMapRef: {name: {{ include "drepmrec.fullname" .root }}}
          {{- end }}
          {{- with $secret }}
          - secretRef: {name: {{ . }}}
          {{- end }}
        {{- end }}
        env:
          # PyTorch and BLAS would take the node's cores.
          {{- range list "OMP_NUM_THREADS" "OPENBLAS_NUM_THREADS" "MKL_NUM_THREADS" }}
          - {name: {{ . }}, value: {{ $cores }}}
          {{- end }}
          {{- if $refresh }}
          {{- with include "drepmrec.sharedEnv" .root }}
          {{- . | nindent 10 }}
          {{- end }}
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
          {{- if .values.cacheClaim }}
          - {name: cache, mountPath: /cache}
          {{- end }}
          {{- if $refresh }}
          {{- with include "drepmrec.sharedMounts" .root }}
          {{- . | nindent 10 }}
          {{- end }}
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
      {{- with .values.cacheClaim }}
      - name: cache
        persistentVolumeClaim: {claimName: {{ . }}}
      {{- end }}
      {{- if $refresh }}
      {{- with include "drepmrec.sharedVolumes" .root }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- end }}
{{- end }}

{{/* Spec of a CronJob, for the same arguments. */}}
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
