package report

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// seen is a record in words.
type seen struct {
	Ready, Reason, Revision, URL, Ref, Path, Shard string
	Source                                         sourceRef
	Size                                           int64
	Resources                                      int32
	Suspended                                      bool
}

func look(r *record) seen {
	return seen{
		Ready: r.ready.String(), Reason: r.reason.Value(), Revision: r.revision.Value(), URL: r.url.Value(), Ref: r.ref.Value(), Path: r.path.Value(),
		Shard: r.shard.Value(), Source: r.sourceOf(), Size: r.size, Resources: r.resources, Suspended: r.suspended,
	}
}

// TestReduce reads one object of each kind that has something of its own.
func TestReduce(t *testing.T) {
	const group = "source.toolkit.fluxcd.io"
	for _, c := range []struct {
		kind, group, spec, status, metadata string
		want                                seen
	}{
		{kind: "GitRepository", spec: `{url: "https://a", ref: {branch: b, tag: t, semver: s, name: refs/x}}`, want: seen{URL: "https://a", Ref: "refs/x"}},
		{kind: "GitRepository", spec: `{ref: {branch: b, tag: t, semver: s}}`, want: seen{Ref: "s"}},
		{kind: "GitRepository", spec: `{ref: {branch: b, tag: t}}`, want: seen{Ref: "t"}},
		{kind: "GitRepository", spec: `{ref: {branch: b}}`, want: seen{Ref: "b"}},
		{kind: "OCIRepository", spec: `{url: "oci://a", ref: {tag: t, semver: s}}`, want: seen{URL: "oci://a", Ref: "s"}},
		{kind: "Bucket", spec: `{endpoint: e, bucketName: fleet}`, status: `{artifact: {revision: r, size: 7}}`, want: seen{URL: "e", Ref: "fleet", Revision: "r", Size: 7}},
		{kind: "Receiver", status: `{webhookPath: /hook}`, want: seen{URL: "/hook"}},
		{kind: "ImageRepository", spec: `{image: i}`, want: seen{URL: "i"}},
		{kind: "ImagePolicy", spec: `{imageRepositoryRef: {name: i}}`, want: seen{Source: sourceRef{namespace: "ns", name: "i"}}},
		{
			kind: "Kustomization", spec: `{path: ./p, sourceRef: {kind: GitRepository, name: s, namespace: other}, suspend: true}`,
			status: `{lastAttemptedRevision: l, inventory: {entries: [{id: a, v: v1}, {id: b, v: v1}]}}`,
			want:   seen{Path: "./p", Source: sourceRef{"GitRepository", "other", "s"}, Revision: "l", Resources: 2, Suspended: true},
		},
		{
			kind: "HelmRelease", spec: `{chart: {spec: {sourceRef: {kind: HelmRepository, name: h}}}}`,
			want: seen{Source: sourceRef{"HelmRepository", "ns", "h"}},
		},
		{
			kind: "HelmRelease", spec: `{chartRef: {kind: OCIRepository, name: c}, chart: {spec: {sourceRef: {kind: HelmRepository, name: h}}}}`,
			want: seen{Source: sourceRef{"OCIRepository", "ns", "c"}},
		},
		{kind: "HelmChart", spec: `{chart: podinfo, sourceRef: {kind: HelmRepository, name: h}}`, want: seen{Source: sourceRef{"HelmRepository", "ns", "h"}}},
		{kind: "HelmRepository", spec: `{type: oci, url: "oci://a"}`, want: seen{Ready: "True", URL: "oci://a"}},
		{kind: "HelmRepository", spec: `{url: "https://a"}`, want: seen{URL: "https://a"}},
		{kind: "Provider", want: seen{Ready: "True"}},
		{kind: "Alert", want: seen{Ready: "True"}},
		{
			kind: "Kustomization", metadata: `labels: {sharding.fluxcd.io/key: one, x: y}, annotations: {fluxcd.controlplane.io/reconcile: disabled}`,
			want: seen{Shard: "one"},
		},
		{
			kind: "FluxInstance", group: v1.Group, metadata: `annotations: {fluxcd.controlplane.io/reconcile: Disabled}`,
			spec: `{distribution: {registry: r}}`, want: seen{URL: "r", Suspended: true},
		},
		{
			kind: "ResourceSet", group: v1.Group, status: `{lastAppliedRevision: "sha256:a", inventory: {entries: [{id: a, v: v1}]}}`,
			want: seen{Revision: "sha256:a", Resources: 1},
		},
		{kind: "Kustomization", status: `{lastAppliedRevision: before, lastAttemptedRevision: now}`, want: seen{Revision: "now"}},
		{kind: "Kustomization", status: `{conditions: [{type: Ready, status: "True", reason: R, lastTransitionTime: nonsense}]}`, want: seen{Ready: "True", Reason: "R"}},
		{kind: "Kustomization", status: `{conditions: [{type: Ready, status: "False", reason: R}]}`, want: seen{Ready: "False", Reason: "R"}},
		{kind: "Kustomization", status: `{conditions: [{type: Ready, status: Unknown, reason: Progressing}]}`, want: seen{Reason: "Progressing"}},
		{kind: "Kustomization", spec: `{path: 7, sourceRef: x, suspend: "no"}`, status: `{conditions: {}, artifact: []}`},
	} {
		definition := &Definition{Group: firstOf(c.group, group), Kind: c.kind, Version: "v1"}
		text, err := yaml.YAMLToJSON([]byte("metadata: {name: a, namespace: ns, " + c.metadata + "}\nspec: " + firstOf(c.spec, "{}") + "\nstatus: " + firstOf(c.status, "{}")))
		if err != nil {
			t.Fatal(err)
		}
		got, err := objectReader(definition, DefaultShardKey)(json.NewDecoder(strings.NewReader(string(text))))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		c.want.Ready = firstOf(c.want.Ready, "Unknown")
		if diff := cmp.Diff(c.want, look(got.value), cmp.AllowUnexported(sourceRef{})); diff != "" {
			t.Errorf("%s %s: (-want +got) %s", c.kind, text, diff)
		}
	}
}

// TestReduceMessage keeps the messages that somebody is told: an object that is ready has none of interest, but for the sync.
func TestReduceMessage(t *testing.T) {
	for _, c := range []struct{ kind, status, want string }{
		{"HelmRelease", "True", ""},
		{"HelmRelease", "False", "said"},
		{"HelmRelease", "Unknown", "said"},
		{"Kustomization", "True", "said"},
		{"Kustomization", "False", "said"},
	} {
		object := `{"metadata":{"name":"a"},"status":{"conditions":[{"type":"Ready","status":"` + c.status + `","message":"said"}]}}`
		got, err := objectReader(&Definition{Kind: c.kind, Version: "v1"}, DefaultShardKey)(json.NewDecoder(strings.NewReader(object)))
		if err != nil {
			t.Fatal(err)
		}
		if message := got.value.message.Value(); message != c.want {
			t.Errorf("%s with Ready=%s: got %q, want %q", c.kind, c.status, message, c.want)
		}
	}
}

func TestReadPage(t *testing.T) {
	read := objectReader(&Definition{Kind: "Kustomization", Version: "v1"}, DefaultShardKey)
	got, err := readPage(strings.NewReader(`{"kind":"KustomizationList","metadata":{"resourceVersion":"7","continue":"c","remainingItemCount":3},
		"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}],"later":[1]}`), read)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 2 || got.Items[1].(*item[*record]).name != "b" || got.ResourceVersion != "7" || got.Continue != "c" || *got.RemainingItemCount != 3 {
		t.Errorf("got %+v", got)
	}
	if got, err := readPage(strings.NewReader(`{"metadata":{},"items":null}`), read); err != nil || len(got.Items) != 0 {
		t.Errorf("no items: %v %v", got, err)
	}
	for _, broken := range []string{`{"items":[{"metadata":{"name":"a"}},`, `{"items":[{"metadata"`, `{"items":{}}`, `[]`, ``, `{"items":[}]}`} {
		if got, err := readPage(strings.NewReader(broken), read); err == nil {
			t.Errorf("%s: read %+v", broken, got)
		}
	}
	if _, err := readPage(strings.NewReader(`{"items":[`), read); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an answer that was cut short: %v", err)
	}
}

func TestReadEvent(t *testing.T) {
	read := objectReader(&Definition{Kind: "Kustomization", Version: "v1"}, DefaultShardKey)
	stream := json.NewDecoder(strings.NewReader(`{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"3"}}}
		{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}
		{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}
		{"object":{},"type":"ADDED"}`))
	kind, object, err := readEvent(stream, read)
	if err != nil || kind != watch.Added || object.(*item[*record]).name != "a" || object.(metav1.ObjectMetaAccessor).GetObjectMeta().GetResourceVersion() != "3" {
		t.Errorf("got %v %v %v", kind, object, err)
	}
	kind, object, err = readEvent(stream, read)
	if err != nil || kind != watch.Bookmark || object.(metav1.ObjectMetaAccessor).GetObjectMeta().GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("got %v %v %v", kind, object, err)
	}
	kind, object, err = readEvent(stream, read)
	if err != nil || kind != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(object)) {
		t.Errorf("got %v %v %v", kind, object, err)
	}
	if _, _, err = readEvent(stream, read); err == nil {
		t.Error("an object of an unknown type of event was read")
	}
}

func TestAddressesNameNoCredentials(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"": "", "ghcr.io/fluxcd": "ghcr.io/fluxcd", "/hook/abc": "/hook/abc", "https://github.com/acme/fleet": "https://github.com/acme/fleet",
		"ssh://git@github.com/acme/fleet":              "ssh://git@github.com/acme/fleet",
		"https://example.com/a@b":                      "https://example.com/a@b",
		"https://robot:s3cret@git.example.com:8443/x":  "https://git.example.com:8443/x",
		"https://s3cret@github.com":                    "https://github.com",
		"https://robot:s3%cr@et@git.example.com/x":     "https://git.example.com/x",
		"ssh://git:s3cret@git.example.com/acme/fleet":  "ssh://git.example.com/acme/fleet",
		"http://robot:s3cret@charts.example.com?x=@y/": "http://charts.example.com?x=@y/",
	} {
		object := `{"metadata":{"name":"a"},"spec":{"url":"` + address + `"}}`
		if got := read(t, object).url.Value(); got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
}
