package report

import (
	"fmt"
	"strings"
)

// realistic is a Kustomization or a HelmRelease as clusters have them: conditions, an inventory or a history, and managed fields; 2 to 3 KB.
func realistic(i int) string {
	namespace, name := fmt.Sprintf("team-%03d", i%200), fmt.Sprintf("application-%05d", i)
	uid := fmt.Sprintf("%08x-6b1c-4f5e-9d1e-%012x", i*2654435761, i)
	ready := `"True","reason":"ReconciliationSucceeded"`
	if i%50 == 0 {
		ready = `"False","reason":"HealthCheckFailed"`
	}
	message := fmt.Sprintf("Helm upgrade succeeded for release %s/%s.v%d with chart podinfo@6.9.%d", namespace, name, i%9, i%7)
	return fmt.Sprintf(`{"apiVersion":"kustomize.toolkit.fluxcd.io/v1","kind":"Kustomization","metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"2026-03-01T10:00:00.123456789Z"},
"creationTimestamp":"2026-01-01T00:00:00Z","finalizers":["finalizers.fluxcd.io"],"generation":3,"labels":{"kustomize.toolkit.fluxcd.io/name":"tenants","kustomize.toolkit.fluxcd.io/namespace":"flux-system"},
"managedFields":[%s],"name":%q,"namespace":%q,"resourceVersion":"%d","uid":%q},
"spec":{"force":false,"interval":"10m0s","path":"./apps/%s","prune":true,"retryInterval":"2m0s","sourceRef":{"kind":"GitRepository","name":"fleet","namespace":"flux-system"},"timeout":"5m0s","wait":true,
"postBuild":{"substitute":{"cluster":"production-eu-1","region":"eu-central-1","team":%q}}},
"status":{"conditions":[{"lastTransitionTime":"2026-03-01T10:00:00Z","message":%q,"observedGeneration":3,"status":%s,"type":"Ready"},
{"lastTransitionTime":"2026-03-01T10:00:00Z","message":"Health check passed in 3.034s","observedGeneration":3,"reason":"Succeeded","status":"True","type":"Healthy"}],
"inventory":{"entries":[%s]},"lastAppliedRevision":"main@sha1:0123456789abcdef0123456789abcdef%08x","lastAttemptedRevision":"main@sha1:0123456789abcdef0123456789abcdef%08x","observedGeneration":3}}`,
		managed, name, namespace, 1000+i, uid, name, namespace, message, ready, inventory(name, 8), i%20, i%20)
}

const managed = `{"apiVersion":"kustomize.toolkit.fluxcd.io/v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:kustomize.toolkit.fluxcd.io/name":{},"f:kustomize.toolkit.fluxcd.io/namespace":{}}},
"f:spec":{"f:interval":{},"f:path":{},"f:postBuild":{"f:substitute":{"f:cluster":{},"f:region":{},"f:team":{}}},"f:prune":{},"f:retryInterval":{},"f:sourceRef":{},"f:timeout":{},"f:wait":{}}},"manager":"kustomize-controller","operation":"Apply","time":"2026-03-01T10:00:00Z"},
{"apiVersion":"kustomize.toolkit.fluxcd.io/v1","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:conditions":{},"f:inventory":{".":{},"f:entries":{}},"f:lastAppliedRevision":{},"f:lastAttemptedRevision":{},"f:observedGeneration":{}}},"manager":"gotk-kustomize-controller","operation":"Update","subresource":"status","time":"2026-03-01T10:00:00Z"}`

func inventory(name string, n int) string {
	entries := make([]string, 0, n)
	for i := range n {
		entries = append(entries, fmt.Sprintf(`{"id":"apps_%s-%d_apps_Deployment","v":"v1"}`, name, i))
	}
	return strings.Join(entries, ",")
}

// kustomizations is the definition of what is realistic.
func kustomizations() *Definition {
	return &Definition{
		Name: "kustomizations.kustomize.toolkit.fluxcd.io", Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization", Plural: "kustomizations",
		Version: "v1", Served: []string{"v1"}, established: true,
	}
}
