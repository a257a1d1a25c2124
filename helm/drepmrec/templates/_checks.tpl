{{/* Checks that the schema cannot express: values that depend on each other. */}}
{{- define "drepmrec.checks" -}}
{{- $redis := include "drepmrec.hasRedis" . -}}
{{- $exposed := include "drepmrec.exposed" . -}}
{{- $closed := eq (toString .Values.config.open_metrics) "false" -}}
{{- with .Values -}}
{{- if and (eq .store.kind "url") (not .store.url) -}}
{{- fail "store.url: required for store.kind: url" -}}
{{- end -}}
{{- if and (eq .store.kind "volume") .store.url -}}
{{- fail "store.kind: must be url if store.url is set" -}}
{{- end -}}
{{- if and .store.fetch.version (not .store.fetch.enabled) -}}
{{- fail "store.fetch.enabled: must be true if store.fetch.version is set" -}}
{{- end -}}
{{- if and .store.fetch.enabled .config.shadow_version -}}
{{- fail "config.shadow_version: cannot be combined with store.fetch.enabled, which fetches a single bundle" -}}
{{- end -}}
{{- if not (or (has "ReadWriteMany" .store.volume.accessModes) (has "ReadWriteOnce" .store.volume.accessModes)) -}}
{{- fail "store.volume.accessModes: must contain ReadWriteMany or ReadWriteOnce, since jobs write to the claim" -}}
{{- end -}}
{{- if gt (len (compact (list .redis.url .redis.existingSecret.name .redis.bundled.enabled))) 1 -}}
{{- fail "redis: set only one of redis.url, redis.existingSecret.name and redis.bundled.enabled" -}}
{{- end -}}
{{- if and .redis.cluster .redis.sentinel -}}
{{- fail "redis.sentinel: cannot be combined with redis.cluster, since a Redis Cluster has no Sentinels" -}}
{{- end -}}
{{- if and (or .redis.cluster .redis.sentinel) (not (or .redis.url .redis.existingSecret.name)) -}}
{{- fail "redis.cluster, redis.sentinel: require redis.url or redis.existingSecret.name" -}}
{{- end -}}
{{- if regexMatch "@|[?&](username|password)=" .redis.url -}}
{{- fail "redis.url: must not contain a user and password; use redis.existingSecret" -}}
{{- end -}}
{{- if and (hasPrefix "unix:" .redis.url) (or .redis.cluster .redis.sentinel) -}}
{{- fail "redis.url: a Unix socket is neither a Redis Cluster nor a Sentinel" -}}
{{- end -}}
{{- if and (regexMatch "^[a-z]+://[^/?]*," .redis.url) (not (or .redis.cluster .redis.sentinel)) -}}
{{- fail "redis.url: names several addresses, which only a Redis Cluster and Sentinels have" -}}
{{- end -}}
{{- if and .redis.cluster (regexMatch "^[a-z]+://[^/?]*/0*[1-9]|[?&]db=0*[1-9]" .redis.url) -}}
{{- fail "redis.url: names a database, and a Redis Cluster has only 0" -}}
{{- end -}}
{{- if and .redis.tls.existingSecret (not (or .redis.existingSecret.name (hasPrefix "rediss://" .redis.url))) -}}
{{- fail "redis.tls.existingSecret: requires a redis.url that begins with rediss://, or redis.existingSecret.name" -}}
{{- end -}}
{{- if and .state.existingClaim (or .autoscaling.enabled (ne (int .replicaCount) 1)) -}}
{{- fail "state.existingClaim: a SQLite file serves a single pod; set replicaCount: 1 without autoscaling, or use Redis" -}}
{{- end -}}
{{- if and .state.existingClaim $redis -}}
{{- fail "state.existingClaim: cannot be combined with Redis, which keeps the state itself" -}}
{{- end -}}
{{- if .autoscaling.enabled -}}
{{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas: must not exceed autoscaling.maxReplicas" -}}
{{- end -}}
{{- if not (or .autoscaling.targetCPU .autoscaling.targetInFlight) -}}
{{- fail "autoscaling.targetCPU, autoscaling.targetInFlight: set at least one of them" -}}
{{- end -}}
{{- if and .autoscaling.targetCPU (not (dig "requests" "cpu" "" .resources)) -}}
{{- fail "resources.requests.cpu: required for autoscaling.targetCPU, which is a percentage of it" -}}
{{- end -}}
{{- end -}}
{{- range .extraEnv -}}
{{- if regexMatch "^DREPMREC_(PORT|STORE|CACHE|KEYS|STATE|REDIS_(URL|CLUSTER|SENTINEL))$" .name -}}
{{- fail (printf "extraEnv: %s is set by the chart, from the values store, apiKeys, state and redis" .name) -}}
{{- end -}}
{{- end -}}
{{- if and $closed (not .apiKeys.existingSecret.name) -}}
{{- fail "config.open_metrics: false requires apiKeys.existingSecret.name" -}}
{{- end -}}
{{- if and $closed .metrics.serviceMonitor.enabled (not .metrics.serviceMonitor.existingSecret.name) -}}
{{- fail "metrics.serviceMonitor.existingSecret.name: required with config.open_metrics: false" -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.hosts) -}}
{{- fail "ingress.hosts: must name at least one host" -}}
{{- end -}}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: must name at least one gateway" -}}
{{- end -}}
{{- if and $exposed (not .apiKeys.existingSecret.name) (not .apiKeys.optional) -}}
{{- fail "apiKeys.existingSecret.name: required if ingress, httpRoute or service.type exposes the service; with apiKeys.optional: true, whoever reaches it may change and delete items and users" -}}
{{- end -}}
{{- if .networkPolicy.enabled -}}
{{- if and $exposed (not .networkPolicy.clients) -}}
{{- fail "networkPolicy.clients: must admit the pods of the Ingress or Gateway controller, or the addresses that service.type lets in" -}}
{{- end -}}
{{- if and .metrics.serviceMonitor.enabled (not .networkPolicy.monitoring) -}}
{{- fail "networkPolicy.monitoring: must admit the pods of Prometheus" -}}
{{- end -}}
{{- end -}}
{{- if and .refresh.enabled (not $redis) (not .state.existingClaim) (not (regexMatch "--(events|items)\\b" (join " " .refresh.args))) -}}
{{- fail "refresh.enabled: there is nothing to refresh from; set redis or state.existingClaim, or --events or --items in refresh.args" -}}
{{- end -}}
{{- if and .refresh.enabled (or $redis .state.existingClaim) (regexMatch "--events\\b" (join " " .refresh.args)) (not (regexMatch "--events[ =](rediss?:|unix:|/state/)" (join " " .refresh.args))) -}}
{{- fail "refresh.args: --events replaces the service's log, which has to be named, too" -}}
{{- end -}}
{{- range $option := list "store" "once" "every" "threads" "state" "event-weights" "vector-ttl" "redis-url" "redis-namespace" "redis-cluster" "redis-sentinel" -}}
{{- range $.Values.refresh.args -}}
{{- if regexMatch (printf "^--%s(=|$)" $option) . -}}
{{- fail (printf "refresh.args: --%s is set by the chart; the refresh has the settings of the service" $option) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .refresh.cacheClaim (ne .store.kind "url") -}}
{{- fail "refresh.cacheClaim: only for store.kind: url; a volume holds unfinished work itself" -}}
{{- end -}}
{{- range .training.args -}}
{{- if regexMatch "^--store(=|$)" . -}}
{{- fail "training.args: --store is set by the chart" -}}
{{- end -}}
{{- end -}}
{{- if and .training.enabled (not .training.dataClaim) -}}
{{- fail "training.dataClaim: must name the claim with the data set" -}}
{{- end -}}
{{- end -}}
{{- end }}
