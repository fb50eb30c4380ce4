package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// recording is a cluster at one moment, as a file tells it.
type recording struct {
	// Now is the time.
	Now time.Time `json:"now"`
	// Blind tells that definitions were never read.
	Blind bool `json:"blind"`
	// Unread are kinds whose objects were never read; Failing are kinds that cannot be watched any more since a minute.
	Unread  []string `json:"unread"`
	Failing []string `json:"failing"`
	// Definitions and Objects are what the API server has.
	Definitions []json.RawMessage `json:"definitions"`
	Objects     []json.RawMessage `json:"objects"`
	// Instance, Deployments, Causes, Cluster, Vendor and Errors are the other inputs.
	Instance    *v1.FluxInstance    `json:"instance"`
	Deployments []appsv1.Deployment `json:"deployments"`
	Causes      map[string]string   `json:"causes"`
	Vendor      string              `json:"vendor"`
	Errors      map[string]string   `json:"errors"`
	// Previous is the report before.
	Previous v1.FluxReportSpec `json:"previous"`
}

// play puts a recording through the decoder and the store.
func (r *recording) play(tb testing.TB) (*Snapshot, Inputs) {
	tb.Helper()
	s := newStore()
	s.setShardKey(DefaultShardKey)
	s.sought("all", func(Health) Health { return Health{Observed: !r.Blind} })
	slots, definitions := map[string]slot{}, map[string]*Definition{}
	for _, raw := range r.Definitions {
		read, err := readDefinition(json.NewDecoder(bytes.NewReader(raw)))
		if err != nil {
			tb.Fatal(err)
		}
		s.defined(read.value)
		at := s.open(read.value.Name)
		definitions[read.value.Kind], slots[read.value.Kind] = read.value, at
		s.replace(at, nil)
	}
	for _, raw := range r.Objects {
		var kind metav1.TypeMeta
		if err := json.Unmarshal(raw, &kind); err != nil {
			tb.Fatal(err)
		}
		definition := definitions[kind.Kind]
		if definition == nil {
			tb.Fatalf("the recording has a %s and no definition of it", kind.Kind)
		}
		read, err := objectReader(definition, DefaultShardKey)(json.NewDecoder(bytes.NewReader(raw)))
		if err != nil {
			tb.Fatal(err)
		}
		s.put(slots[kind.Kind], read.value)
	}
	for _, name := range r.Unread {
		s.kinds[definitions[name].Name].health = Health{}
		s.kinds[definitions[name].Name].objects = nil
	}
	for _, name := range r.Failing {
		s.kinds[definitions[name].Name].health = Health{Observed: true, Failing: r.Now.Add(-time.Minute), Problem: "connection refused"}
	}
	return s.Snapshot(), r.inputs()
}

func (r *recording) inputs() Inputs {
	failure := func(part string) error {
		if text := r.Errors[part]; text != "" {
			return errors.New(text)
		}
		return nil
	}
	in := Inputs{
		Now: r.Now, Namespace: "flux-system", Vendor: r.Vendor,
		Instance:   Read[*v1.FluxInstance]{Value: r.Instance, Err: failure("instance")},
		Components: Read[[]Component]{Err: failure("components")},
		Cluster:    Read[v1.ClusterInfo]{Value: v1.ClusterInfo{ServerVersion: "v1.36.3", Platform: "linux/amd64", Nodes: 3}, Err: failure("cluster")},
		Operator:   v1.OperatorInfo{APIVersion: "fluxcd.controlplane.io/v1", Version: "1.0.0", Platform: "linux/amd64"},
	}
	for i := range r.Deployments {
		deployment := &r.Deployments[i]
		in.Components.Value = append(in.Components.Value, ComponentOf(deployment, r.Causes[deployment.Name]))
	}
	return in
}

func load(tb testing.TB, path string) *recording {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	r := &recording{}
	if err := yaml.UnmarshalStrict(content, r); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return r
}

// TestCompute computes the report of each recording.
func TestCompute(t *testing.T) {
	recordings, err := filepath.Glob("testdata/compute/*.in.yaml")
	if err != nil || len(recordings) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, path := range recordings {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".in.yaml"), func(t *testing.T) {
			r := load(t, path)
			snapshot, in := r.play(t)
			spec := Compute(snapshot, in, r.Previous)
			got, err := yaml.Marshal(map[string]any{"spec": spec, "ready": readyText(&spec)})
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.Replace(path, ".in.yaml", ".golden.yaml", 1)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got) %s", diff)
			}
			if again := Compute(snapshot, in, spec); cmp.Diff(spec, again) != "" {
				t.Errorf("the report of an unchanged cluster changed: %s", cmp.Diff(spec, again))
			}
		})
	}
}

func readyText(spec *v1.FluxReportSpec) string {
	condition := Condition(spec)
	return string(condition.Status) + " " + condition.Reason + ": " + condition.Message
}

func TestBytesText(t *testing.T) {
	for size, want := range map[int64]string{
		-1: "", 0: "", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB",
	} {
		if got := bytesText(size); got != want {
			t.Errorf("%d: %q, want %q", size, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, c := range []struct{ text, want string }{{"short", "short"}, {"12345678", "12345678"}, {"123456789", "12345…"}, {"1234ö6789", "1234…"}} {
		if got := clip(c.text, 8); got != c.want || len(got) > 8 {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}
