{{- define "portreeve.labels" -}}
app.kubernetes.io/name: portreeve-injector
app.kubernetes.io/part-of: portreeve
{{- end }}

{{- define "portreeve.injectorImage" -}}
{{ .Values.injectorImage | default (printf "ghcr.io/portreeve/portreeve-injector:%s" .Chart.AppVersion) }}
{{- end }}

{{- define "portreeve.image" -}}
{{ .Values.settings.image | default (printf "ghcr.io/portreeve/portreeve:%s" .Chart.AppVersion) }}
{{- end }}

{{- define "portreeve.caBundle" -}}
{{ printf "%s\n" (required "caCert must be given: --set-file caCert=ca.crt (portreeve-injector ca makes the CA)" .Values.caCert | trim) | b64enc }}
{{- end }}

{{/* The namespaces that are held: never kube-system, never the injector's own. */}}
{{- define "portreeve.namespaceSelector" -}}
matchExpressions:
{{- if eq .Values.settings.namespaces "all" }}
- {key: portreeve.dev/injection, operator: NotIn, values: [disabled]}
{{- else }}
- {key: portreeve.dev/injection, operator: In, values: [enabled]}
{{- end }}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: {{ concat (list "kube-system" .Release.Namespace) (index .Values.settings "excluded-namespaces") | toJson }}
{{- end }}

{{/* Where the opt-out counts, as a condition; nothing where it counts nowhere. */}}
{{- define "portreeve.notOptedOut" -}}
{{- $general := index .Values.settings "opt-out" }}
{{- $differing := list }}
{{- range $name := keys .Values.settings.namespace | sortAlpha }}
{{- $own := index $.Values.settings.namespace $name }}
{{- if and (hasKey $own "opt-out") (ne (index $own "opt-out") $general) }}{{ $differing = append $differing $name }}{{ end }}
{{- end }}
{{- $says := "has(object.metadata.labels) && 'portreeve.dev/inject' in object.metadata.labels && object.metadata.labels['portreeve.dev/inject'] == 'false'" }}
{{- if and $general $differing }}{{ printf "!(!(request.namespace in %s) && %s)" (toJson $differing) $says }}
{{- else if $general }}{{ printf "!(%s)" $says }}
{{- else if $differing }}{{ printf "!(request.namespace in %s && %s)" (toJson $differing) $says }}
{{- end }}
{{- end }}

{{/* The sidecar's environment where it is the same in every pod: each variable with the values it may have. */}}
{{- define "portreeve.env" -}}
{{- $s := .Values.settings }}
{{- $env := dict
    "PORTREEVE_FLOW_LOG" (list (index $s "flow-log"))
    "PORTREEVE_KEPT_RESOLV_CONF" (list "/run/portreeve/resolv.conf")
    "PORTREEVE_LISTEN" (list (printf "127.0.0.1:%d" (int64 $s.port)))
    "PORTREEVE_LOG" (list "error" "warn" "info" "debug")
    "PORTREEVE_RAW_GUARD" (list (index $s "raw-guard"))
    "PORTREEVE_UID" (list (printf "%d" (int64 $s.uid))) }}
{{- $port := int64 (index $s "metrics-port") }}
{{- if $port }}{{ $_ := set $env "PORTREEVE_METRICS" (list (printf "0.0.0.0:%d" $port) (printf "[::]:%d" $port)) }}{{ end }}
{{- toJson $env }}
{{- end }}

{{/* The resolvers that the sidecar must ask, as its variable has them: one text, or one of each namespace that has its own. */}}
{{- define "portreeve.resolvers" -}}
{{- $own := dict }}
{{- range $name, $settings := .Values.settings.namespace }}
{{- if hasKey $settings "resolvers" }}{{ $_ := set $own $name (join "," $settings.resolvers) }}{{ end }}
{{- end }}
{{- $general := join "," .Values.settings.resolvers | toJson }}
{{- if $own }}{{ printf "request.namespace in %s ? %s[request.namespace] : %s" (toJson $own) (toJson $own) $general }}
{{- else }}{{ $general }}
{{- end }}
{{- end }}

{{/* settings.toml, whose checksum makes new pods of the injector. */}}
{{- define "portreeve.settings" -}}
{{- $s := .Values.settings -}}
image = {{ include "portreeve.image" . | toJson }}
more-images = {{ index $s "more-images" | toJson }}
image-pull-policy = {{ index $s "image-pull-policy" | toJson }}
namespaces = {{ $s.namespaces | toJson }}
excluded-namespaces = {{ index $s "excluded-namespaces" | toJson }}
opt-out = {{ index $s "opt-out" }}
unsafe-pods = {{ index $s "unsafe-pods" | toJson }}
pod-security = {{ index $s "pod-security" | toJson }}
port = {{ int64 $s.port }}
uid = {{ int64 $s.uid }}
resolvers = {{ $s.resolvers | toJson }}
metrics-port = {{ int64 (index $s "metrics-port") }}
raw-guard = {{ index $s "raw-guard" | toJson }}
flow-log = {{ index $s "flow-log" | toJson }}

[resources]
{{- include "portreeve.resources" $s.resources | nindent 0 }}
{{- range $name := keys $s.namespace | sortAlpha }}
{{- $own := index $s.namespace $name }}

[namespace.{{ toJson $name }}]
{{- if hasKey $own "opt-out" }}
opt-out = {{ index $own "opt-out" }}
{{- end }}
{{- if hasKey $own "unsafe-pods" }}
unsafe-pods = {{ index $own "unsafe-pods" | toJson }}
{{- end }}
{{- if hasKey $own "resolvers" }}
resolvers = {{ $own.resolvers | toJson }}
{{- end }}
{{- with $own.resources }}

[namespace.{{ toJson $name }}.resources]
{{- include "portreeve.resources" . | nindent 0 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "portreeve.resources" -}}
cpu-request = {{ index . "cpu-request" | toJson }}
cpu-limit = {{ index . "cpu-limit" | toJson }}
memory-request = {{ index . "memory-request" | toJson }}
memory-limit = {{ index . "memory-limit" | toJson }}
{{- end }}
