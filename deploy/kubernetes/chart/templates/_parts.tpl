{{- define "spanwire.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "spanwire.account" -}}
{{- .Values.serviceAccount.name | default (include "spanwire.name" .) -}}
{{- end }}

{{- define "spanwire.selector" -}}
app.kubernetes.io/name: spanwire
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spanwire.labels" -}}
{{ include "spanwire.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "spanwire.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* "true" where something is put on the wire. */ -}}
{{- define "spanwire.propagates" -}}
{{- $headers := dig "propagate" "headers" list .Values.config -}}
{{- if and $headers (ne (toString $headers) "none") (ne (toString $headers) "[none]") -}}true{{- end -}}
{{- end }}

{{- define "spanwire.spool" -}}
{{- dig "export" "spool" "directory" "" .Values.config -}}
{{- end }}

{{- /* A list, in JSON. */ -}}
{{- define "spanwire.capabilities" -}}
{{- $all := list "BPF" "PERFMON" "NET_ADMIN" "SYS_PTRACE" "DAC_READ_SEARCH" -}}
{{- if dig "capture" "probes" true .Values.config -}}{{- $all = append $all "SYS_ADMIN" -}}{{- end -}}
{{- if semverCompare "<5.11" .Values.security.oldestKernel -}}{{- $all = append $all "SYS_RESOURCE" -}}{{- end -}}
{{- concat $all .Values.security.extraCapabilities | uniq | toJson -}}
{{- end }}

{{- define "spanwire.attributes" -}}
host.name=$(SPANWIRE_NODE_NAME)
{{- range $key, $value := .Values.resourceAttributes }},{{ $key }}={{ $value }}{{ end -}}
{{- end }}
