package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// releases is the distribution that the tests of render use.
const releases = "../../pkg/render/testdata/distribution"

const head = "apiVersion: fluxcd.controlplane.io/v1\nkind: FluxInstance\nmetadata:\n  name: flux\n"

const good = head + "spec:\n  distribution: {version: 2.x, registry: ghcr.io/fluxcd}\n  components: [source-controller]\n"

func run(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

func TestBuildInstance(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flux.yaml")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile, err := run(t, "", "build", "instance", "-f", file, "--distribution", releases)
	if err != nil {
		t.Fatal(err)
	}
	beside := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\n---\n" + good + "---\n"
	fromPipe, err := run(t, beside, "build", "instance", "-f", "-", "--distribution", releases)
	if err != nil {
		t.Fatal(err)
	}
	if fromFile != fromPipe {
		t.Error("a file and a pipe give different objects")
	}
	for _, want := range []string{"kind: Namespace\n", "image: ghcr.io/fluxcd/source-controller:v1.9.0@sha256:", "kind: NetworkPolicy\n"} {
		if !strings.Contains(fromFile, want) {
			t.Errorf("the objects lack %q", want)
		}
	}
	elsewhere, err := run(t, good, "build", "instance", "-f", "-", "-n", "gitops", "--distribution", releases)
	if err != nil || !strings.Contains(elsewhere, "namespace: gitops\n") || strings.Contains(elsewhere, "flux-system") {
		t.Errorf("another namespace is not kept to: %v", err)
	}
}

// TestDefaultsOfTheDefinition: a field that is left out means here what it means in a cluster.
func TestDefaultsOfTheDefinition(t *testing.T) {
	out, err := run(t, good+"  cluster: {multitenant: true}\n", "build", "instance", "-f", "-", "--distribution", releases)
	if err != nil || !strings.Contains(out, "kind: NetworkPolicy\n") {
		t.Errorf("networkPolicy does not default to true: %v", err)
	}
}

func TestSampleIsRight(t *testing.T) {
	content, err := os.ReadFile("../../config/samples/fluxcd_v1_fluxinstance.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readInstance(t.Context(), content, v1.DefaultNamespace); err != nil {
		t.Error(err)
	}
}

func TestBuildInstanceFails(t *testing.T) {
	spec := head + "spec:\n  distribution: {version: 2.x, registry: ghcr.io/fluxcd}\n  components: [source-controller]\n"
	for _, tt := range []struct {
		reason, input string
		want          []string
	}{
		{"nothing", "", []string{"FluxInstance"}},
		{"no YAML", "{", []string{"yaml"}},
		{"another kind", "apiVersion: v1\nkind: Secret\n", []string{"FluxInstance"}},
		{"another version", strings.Replace(good, "/v1", "/v2", 1), []string{"apiVersion", "v2"}},
		{"two", good + "---\n" + good, []string{"more than one"}},
		{"a key twice", good + "  wait: true\n  wait: false\n", []string{"wait"}},
		{"an unknown field", good + "  sink: {}\n", []string{"spec.sink", "unknown"}},
		{"an unknown field of metadata", strings.Replace(good, "  name: flux\n", "  name: flux\n  label: {}\n", 1), []string{"label"}},
		{"another name", strings.Replace(good, "name: flux\n", "name: other\n", 1), []string{"FluxInstance", "'flux'"}},
		{"a missing field", head + "spec: {distribution: {version: 2.x}}\n", []string{"spec.distribution.registry", "Required"}},
		{"an unknown component", strings.Replace(good, "[source-controller]", "[a]", 1), []string{"spec.components[0]", "source-watcher"}},
		{"a component twice", strings.Replace(good, "[source-controller]", "[source-controller, source-controller]", 1), []string{"spec.components[1]"}},
		{"a wrong type", good + "  wait: maybe\n", []string{"spec.wait", "boolean"}},
		{"a pattern", good + "  sync: {kind: GitRepository, url: a, ref: b, path: c, interval: often}\n", []string{"spec.sync.interval"}},
		{"a rule", good + "  sync: {kind: GitRepository, url: a, ref: b, path: c, provider: gcp}\n", []string{"spec.sync", "gcp"}},
		{"a range that is none", strings.Replace(spec, "2.x", "two", 1), []string{"spec.distribution.version", "two"}},
		{"a range without a release", strings.Replace(spec, "2.x", "3.x", 1), []string{"spec.distribution.version", "v2.9.0"}},
		{"what only rendering can know", spec + "  kustomize: {patches: [{target: {kind: Nothing}, patch: '[{op: remove, path: /a}]'}]}\n",
			[]string{"spec.kustomize.patches[0]", "Nothing"}},
		{"what only the last check can know", spec + "  kustomize: {patches: [{target: {kind: Deployment}, patch: '{$patch: delete, apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}'}]}\n",
			[]string{"spec.components[0]"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			out, err := run(t, tt.input, "build", "instance", "-f", "-", "--distribution", releases)
			if err == nil || out != "" {
				t.Fatalf("no error but %q", out)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name %q", err, want)
				}
			}
		})
	}
	for _, args := range [][]string{
		{"build", "instance"},
		{"build", "instance", "-f", "absent.yaml", "--distribution", releases},
		{"build", "instance", "-f", "-", "--distribution", t.TempDir()},
		{"build", "instance", "-f", "-", "--distribution", releases, "surplus"},
		{"build", "nothing"},
	} {
		if out, err := run(t, good, args...); err == nil {
			t.Errorf("%v gives %q and no error", args, out)
		}
	}
}

func TestEveryCommandTeaches(t *testing.T) {
	for _, args := range [][]string{{}, {"build"}, {"build", "instance"}, {"diff"}, {"diff", "instance"}, {"distro"}, {"distro", "push"}, {"distro", "mirror"}, {"version"}} {
		out, err := run(t, "", append(args, "--help")...)
		if err != nil || !strings.Contains(out, "Usage:") {
			t.Errorf("%v --help gives %q, %v", args, out, err)
		}
	}
	if out, err := run(t, "", "version"); err != nil || out != VERSION+"\n" {
		t.Errorf("version prints %q, %v", out, err)
	}
	if out, err := run(t, "", "completion", "bash"); err != nil || !strings.Contains(out, "flux-operator") {
		t.Errorf("completion fails: %v", err)
	}
}

// TestBuildInstanceFormats: both formats hold the same objects in the same order.
func TestBuildInstanceFormats(t *testing.T) {
	stream, err := run(t, good, "build", "instance", "-f", "-", "--distribution", releases, "--output", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []map[string]any
	for document := range strings.SplitSeq(strings.TrimPrefix(stream, "---\n"), "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		want = append(want, object)
	}
	text, err := run(t, good, "build", "instance", "-f", "-", "--distribution", releases, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		APIVersion, Kind string
		Items            []map[string]any
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	if list.APIVersion != "v1" || list.Kind != "List" || len(list.Items) < 5 {
		t.Errorf("not a List of v1 with items: %s %s with %d", list.APIVersion, list.Kind, len(list.Items))
	}
	if diff := cmp.Diff(want, list.Items); diff != "" {
		t.Errorf("the formats differ (-yaml +json):\n%s", diff)
	}
	if out, err := run(t, good, "build", "instance", "-f", "-", "--distribution", releases, "-o", "xml"); err == nil || out != "" || !strings.Contains(err.Error(), "xml") {
		t.Errorf("format xml gives %q, %v", out, err)
	}
}

func TestDistributionHasADefault(t *testing.T) {
	t.Setenv("DISTRIBUTION_DIR", releases)
	if _, err := run(t, good, "build", "instance", "-f", "-"); err != nil {
		t.Error(err)
	}
	t.Setenv("DISTRIBUTION_DIR", "")
	if _, err := run(t, good, "build", "instance", "-f", "-"); err == nil || !strings.Contains(err.Error(), `"dist/distribution"`) || !strings.Contains(err.Error(), "--distribution") {
		t.Errorf("a missing distribution gives %v", err)
	}
}

// TestNoKubeconfig: what is said names the flags of this tool.
func TestNoKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	if _, err := run(t, "", "snapshot", "list"); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("a missing kubeconfig gives the error %v", err)
	}
}

// TestReportSaysThatItIsCut: nobody takes the settings that a report lists for all that there are.
func TestReportSaysThatItIsCut(t *testing.T) {
	report := &v1.AdoptionStatus{Objects: 100}
	for range migrate.MaxListed {
		report.Losses = append(report.Losses, v1.AdoptionLoss{Object: "ConfigMap/x", Manager: "helm", Fields: []string{".data.a"}})
	}
	for cut, losses := range map[bool][]v1.AdoptionLoss{true: report.Losses, false: report.Losses[1:]} {
		var out bytes.Buffer
		report.Losses = losses
		if err := writeReport(&out, report); err != nil || strings.Contains(out.String(), "and maybe more") != cut {
			t.Errorf("%d losses, %v: %s", len(losses), err, &out)
		}
	}
}
