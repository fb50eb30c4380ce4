package render

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestDocumentedClusterTypes renders the examples of the API reference, and checks that the types which change nothing do not.
func TestDocumentedClusterTypes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/api/v1/fluxinstance.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Cluster types\n")
	section, _, _ = strings.Cut(section, "\n## ")
	marks := map[string]string{
		"aws":   "eks.amazonaws.com/role-arn",
		"azure": "azure.workload.identity/client-id",
		"gcp":   "iam.gke.io/gcp-service-account",
	}
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		plain, err := Render(tree, release, complete(tree, release))
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, block := range strings.Split(section, "```yaml\n")[1:] {
			text, _, _ := strings.Cut(block, "```")
			example := &v1.FluxInstance{}
			if err := yaml.UnmarshalStrict([]byte(text), example); err != nil {
				t.Fatalf("%v in:\n%s", err, text)
			}
			i := complete(tree, release)
			i.Spec.Cluster.Type = example.Spec.Cluster.Type
			set, err := Render(tree, release, i)
			if err != nil || set.Revision != plain.Revision {
				t.Errorf("type %s changes something: %v", i.Spec.Cluster.Type, err)
			}
			i.Spec.Kustomize = example.Spec.Kustomize
			if set, err = Render(tree, release, i); err != nil {
				t.Fatal(err)
			}
			for _, component := range []string{"source-controller", "kustomize-controller", "helm-controller"} {
				account, _ := objectOf(set, "ServiceAccount", component)
				if marked := account.GetAnnotations()[marks[example.Spec.Cluster.Type]] != ""; marked != (component != "helm-controller") {
					t.Errorf("type %s: the account of %s has %v", example.Spec.Cluster.Type, component, account.GetAnnotations())
				}
			}
			seen++
		}
		if seen != len(marks) {
			t.Errorf("%d examples, want one for each of %v", seen, marks)
		}
	})
}
