{{/* What the schema cannot say: values that must fit each other. */}}
{{- define "drepmrec.checks" -}}
{{- with .Values -}}
{{- if and (eq .store.kind "url") (not .store.url) -}}
{{- fail "store.url: is needed for store.kind: url" -}}
{{- end -}}
{{- if and (eq .store.kind "volume") .store.url -}}
{{- fail "store.kind: must be url for store.url to be used" -}}
{{- end -}}
{{- if and .store.fetch.version (not .store.fetch.enabled) -}}
{{- fail "store.fetch.enabled: must be true for store.fetch.version to be served" -}}
{{- end -}}
{{- if gt (len (compact (list .redis.url .redis.existingSecret.name .redis.bundled.enabled))) 1 -}}
{{- fail "redis: give one of redis.url, redis.existingSecret.name and redis.bundled.enabled" -}}
{{- end -}}
{{- if and .redis.cluster .redis.sentinel -}}
{{- fail "redis.sentinel: a Redis Cluster has no Sentinels, see redis.cluster" -}}
{{- end -}}
{{- if and (or .redis.cluster .redis.sentinel) (not (or .redis.url .redis.existingSecret.name)) -}}
{{- fail "redis.cluster, redis.sentinel: need redis.url or redis.existingSecret.name" -}}
{{- end -}}
{{- if contains "@" .redis.url -}}
{{- fail "redis.url: user and password belong into a Secret, see redis.existingSecret" -}}
{{- end -}}
{{- if and .state.existingClaim (or .autoscaling.enabled (ne (int .replicaCount) 1)) -}}
{{- fail "state.existingClaim: a SQLite file serves one pod: set replicaCount: 1 and no autoscaling, or use Redis" -}}
{{- end -}}
{{- if and .state.existingClaim (or .redis.url .redis.existingSecret.name .redis.bundled.enabled) -}}
{{- fail "state.existingClaim: with Redis, state is kept there" -}}
{{- end -}}
{{- if .autoscaling.enabled -}}
{{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas: must not be above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if not (or .autoscaling.targetCPU .autoscaling.targetInFlight) -}}
{{- fail "autoscaling.targetCPU, autoscaling.targetInFlight: one of them is needed" -}}
{{- end -}}
{{- if and .autoscaling.targetCPU (not (dig "requests" "cpu" "" .resources)) -}}
{{- fail "resources.requests.cpu: autoscaling.targetCPU is a share of it" -}}
{{- end -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.hosts) -}}
{{- fail "ingress.hosts: must name a host" -}}
{{- end -}}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: must name a gateway" -}}
{{- end -}}
{{- if .networkPolicy.enabled -}}
{{- if and (or .ingress.enabled .httpRoute.enabled) (not .networkPolicy.clients) -}}
{{- fail "networkPolicy.clients: must let the pods of the Ingress or Gateway controller in" -}}
{{- end -}}
{{- if and .metrics.serviceMonitor.enabled (not .networkPolicy.monitoring) -}}
{{- fail "networkPolicy.monitoring: must let the pods of Prometheus in" -}}
{{- end -}}
{{- end -}}
{{- if and .training.enabled (not .training.dataClaim) -}}
{{- fail "training.dataClaim: must name the claim with the data set" -}}
{{- end -}}
{{- end -}}
{{- end }}
