module github.com/flux-autopilot/flux-operator/tools/openshift-apis

go 1.26.0

require github.com/openshift/api v0.0.0-20260204104751-e09e5a4ebcd0
