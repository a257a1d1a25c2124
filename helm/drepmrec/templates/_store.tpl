{{/* Where the store itself is, seen from a container that mounts it at /store. */}}
{{- define "drepmrec.store" -}}
{{- ternary .Values.store.url "/store" (eq .Values.store.kind "url") -}}
{{- end }}

{{- define "drepmrec.storeClaim" -}}
persistentVolumeClaim:
  claimName: {{ .Values.store.volume.existingClaim | default (printf "%s-store" (include "drepmrec.fullname" .)) }}
{{- end }}

{{- define "drepmrec.storeMount" -}}
name: store
mountPath: /store
{{- with .Values.store.volume.subPath }}
subPath: {{ . }}
{{- end }}
{{- end }}
