package bundle_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/distribution"
	"github.com/flux-autopilot/flux-operator/test/bundle"
	"github.com/flux-autopilot/flux-operator/tools"
)

const stale = "the bundle is stale, run make bundle (-config +bundle):\n%s"

// folder makes a folder with files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// decode reads the first document of a file.
func decode(t *testing.T, path string, into any) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := yaml.NewYAMLOrJSONDecoder(file, 4096).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// decodeStrictly reads a file with no other keys than those that are asked for.
func decodeStrictly(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := sigsyaml.UnmarshalStrict(content, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func TestRightsAreThoseOfConfig(t *testing.T) {
	b := shipped(t)
	var cluster rbacv1.ClusterRole
	decode(t, inCheckout(t, "config", "rbac", "cluster_role.yaml"), &cluster)
	permissions := b.CSV.Spec.Install.Spec.ClusterPermissions
	if len(permissions) != 1 || permissions[0].ServiceAccountName != "flux-operator" {
		t.Fatalf("want the rights of one account, got %v", permissions)
	}
	if diff := cmp.Diff(cluster.Rules, permissions[0].Rules); diff != "" {
		t.Errorf(stale, diff)
	}
	var role rbacv1.Role
	decode(t, inCheckout(t, "config", "rbac", "role.yaml"), &role)
	got, err := b.Role()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(role.Rules, got.Rules); diff != "" {
		t.Errorf(stale, diff)
	}
}

func TestTheRoleIsBoundToTheAccountOfTheOperator(t *testing.T) {
	for _, object := range shipped(t).Others {
		if object.GetKind() != "RoleBinding" {
			continue
		}
		want := map[string]any{
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "flux-operator"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "flux-operator"}},
		}
		got := map[string]any{"roleRef": object.Object["roleRef"], "subjects": object.Object["subjects"]}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		return
	}
	t.Error("there is no RoleBinding")
}

func TestDefinitionsAreThoseOfConfig(t *testing.T) {
	b := shipped(t)
	files, err := filepath.Glob(inCheckout(t, "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) != len(b.CRDs) {
		t.Fatalf("the bundle has %d definitions and config %d (%v)", len(b.CRDs), len(files), err)
	}
	for i, file := range files {
		var want apiextensionsv1.CustomResourceDefinition
		decode(t, file, &want)
		if diff := cmp.Diff(want.Spec, b.CRDs[i].Spec); diff != "" {
			t.Errorf(stale, diff)
		}
	}
}

func TestImagesAreThoseOfTheNewestRelease(t *testing.T) {
	catalog, err := distribution.Load()
	if err != nil {
		t.Fatal(err)
	}
	newest := catalog.Releases[len(catalog.Releases)-1]
	var want, got []string
	for _, component := range newest.Components {
		digest := newest.Images[distribution.UpstreamAlpine].Digests[component.Name]
		want = append(want, "ghcr.io/fluxcd/"+component.Name+"@"+digest)
	}
	b := shipped(t)
	for _, image := range b.CSV.Spec.RelatedImages[1:] {
		got = append(got, image.Image)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf(stale, diff)
	}
	var variables []string
	for _, variable := range b.CSV.Spec.Install.Spec.Deployments[0].Spec.Template.Spec.Containers[0].Env {
		if strings.HasPrefix(variable.Name, "RELATED_IMAGE_") {
			variables = append(variables, variable.Value)
		}
	}
	if diff := cmp.Diff(want, variables); diff != "" {
		t.Errorf(stale, diff)
	}
}

func TestOldestKubernetesIsTheOldestTested(t *testing.T) {
	versions := tools.KubernetesVersions()
	if want, got := versions[len(versions)-1]+".0", shipped(t).CSV.Spec.MinKubeVersion; got != want {
		t.Errorf("minKubeVersion is %s, and %s is the oldest that is tested", got, want)
	}
}

func TestTheImageHasTheAnnotationsAsLabels(t *testing.T) {
	content, err := os.ReadFile(inCheckout(t, "bundle.Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if label, found := strings.CutPrefix(strings.TrimSpace(line), "LABEL "); found {
			key, value, _ := strings.Cut(label, "=")
			labels[key] = value
		}
	}
	if diff := cmp.Diff(shipped(t).Annotations, labels); diff != "" {
		t.Error(diff)
	}
}

func TestTheTemplateLeadsToTheBundle(t *testing.T) {
	b := shipped(t)
	file, err := os.Open(inCheckout(t, "catalog", "catalog-templates", "stable.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var template struct {
		Entries []struct {
			Schema  string         `json:"schema"`
			Image   string         `json:"image"`
			Entries []bundle.Entry `json:"entries"`
		} `json:"entries"`
	}
	if err := yaml.NewYAMLOrJSONDecoder(file, 4096).Decode(&template); err != nil {
		t.Fatal(err)
	}
	for _, block := range template.Entries {
		if block.Schema == "olm.channel" {
			newest := block.Entries[len(block.Entries)-1]
			want := bundle.Entry{Name: b.CSV.Name, Replaces: b.CSV.Spec.Replaces, SkipRange: b.CSV.Annotations["olm.skipRange"]}
			if diff := cmp.Diff(want, newest); diff != "" {
				t.Errorf("the last entry of the channel is not the bundle (-bundle +template):\n%s", diff)
			}
		}
	}
	last := template.Entries[len(template.Entries)-1]
	if want := "ghcr.io/flux-autopilot/flux-operator-bundle:v" + b.Version(); last.Image != want {
		t.Errorf("the last bundle of the template is %q and not %q", last.Image, want)
	}
}

// TestTheCommunityCatalogsCanAddTheVersion looks at what their pipeline reads: who reviews, which template is for which catalogs, and what a version
// adds to it. The pipeline makes the template, and an unknown key fails there. A bundle without an upper end belongs into every catalog there is.
func TestTheCommunityCatalogsCanAddTheVersion(t *testing.T) {
	//nolint:tagliatelle // the pipeline calls them so
	var pipeline struct {
		Reviewers []string `json:"reviewers"`
		FBC       struct {
			Enabled  bool   `json:"enabled"`
			Strategy string `json:"version_promotion_strategy"`
			Mapping  []struct {
				Template string   `json:"template_name"`
				Type     string   `json:"type"`
				Catalogs []string `json:"catalog_names"`
			} `json:"catalog_mapping"`
		} `json:"fbc"`
	}
	decodeStrictly(t, inCheckout(t, "catalog", "ci.yaml"), &pipeline)
	strategies := []string{"never", "always", "review-needed"}
	if len(pipeline.Reviewers) == 0 || !pipeline.FBC.Enabled || !slices.Contains(strategies, pipeline.FBC.Strategy) || len(pipeline.FBC.Mapping) != 1 {
		t.Fatalf("want reviewers, one mapping and a strategy of %v, got %+v", strategies, pipeline)
	}
	mapping := pipeline.FBC.Mapping[0]
	if mapping.Type != "olm.template.basic" {
		t.Errorf("%s is said to be of the type %q", mapping.Template, mapping.Type)
	}
	if diff := cmp.Diff(bundle.OpenShiftSince(shipped(t).Annotations["com.redhat.openshift.versions"]), mapping.Catalogs); diff != "" {
		t.Errorf("the catalogs are not those of OpenShift from the oldest on that the bundle is for (-known +ci.yaml):\n%s", diff)
	}

	//nolint:tagliatelle // the pipeline calls them so
	var release struct {
		Templates []struct {
			Template  string   `json:"template_name"`
			Channels  []string `json:"channels"`
			Replaces  string   `json:"replaces"`
			SkipRange string   `json:"skipRange"`
		} `json:"catalog_templates"`
	}
	decodeStrictly(t, inCheckout(t, "bundle", "release-config.yaml"), &release)
	if len(release.Templates) != 1 || release.Templates[0].Template != mapping.Template || !slices.Equal(release.Templates[0].Channels, []string{"stable"}) {
		t.Fatalf("the version is added to %+v and not to the channel stable of %s", release.Templates, mapping.Template)
	}
	csv, added := shipped(t).CSV, release.Templates[0]
	if added.Replaces != csv.Spec.Replaces || added.SkipRange != csv.Annotations["olm.skipRange"] {
		t.Errorf("the version is added as %+v, and the bundle says that it replaces %q and skips %q", added, csv.Spec.Replaces, csv.Annotations["olm.skipRange"])
	}
}
