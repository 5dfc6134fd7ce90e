{{- define "transship.selector" -}}
app.kubernetes.io/name: transship
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "transship.labels" -}}
app.kubernetes.io/name: transship
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: transship
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "transship.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The movers' pods, which the controller makes. */ -}}
{{- define "transship.movers" -}}
matchLabels:
  app.kubernetes.io/name: transship
  app.kubernetes.io/managed-by: transship-controller
matchExpressions:
  - key: transship.dev/role
    operator: In
    values: [sender, receiver]
{{- end }}

{{- /* Annotations of what the pod of `helm test` may do: there before it, gone with it. */ -}}
{{- define "transship.testRights" -}}
helm.sh/hook: test
helm.sh/hook-weight: "-5"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- /* "true" where the policy transship-hold is rendered, else empty. */ -}}
{{- define "transship.hold" -}}
{{- if or (eq .Values.policies.hold "always") (and (eq .Values.policies.hold "auto") (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")) -}}
true
{{- end }}
{{- end }}
