package render

import (
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpproxy"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// platformOf is a platform with everything, as on an OpenShift cluster behind a proxy.
func platformOf() Platform {
	return Platform{
		Type:      openshift,
		Proxy:     Proxy{HTTP: "http://proxy.example.com:3128", HTTPS: "http://user:p$(x)@proxy.example.com:3128", No: ".example.com,172.30.0.0/16"},
		TrustedCA: TrustedCA{ConfigMap: "flux-trusted-ca", Filled: true, Digest: "sha256:0"},
	}
}

// envOf reads the environment of a controller.
func envOf(t *testing.T, set *Set, deployment string) map[string]string {
	t.Helper()
	o, found := objectOf(set, "Deployment", deployment)
	if !found {
		t.Fatalf("no Deployment %s", deployment)
	}
	containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	variables, _ := containers[0].(map[string]any)["env"].([]any)
	for _, variable := range variables {
		name, _ := variable.(map[string]any)["name"].(string)
		value, plain := variable.(map[string]any)["value"].(string)
		if _, twice := env[name]; twice {
			t.Errorf("%s has %s twice", deployment, name)
		}
		if plain {
			env[name] = value
		}
	}
	return env
}

// TestPlatformTypeIsADefault: what the instance says of its cluster wins, and what it does not say is what the cluster is.
func TestPlatformTypeIsADefault(t *testing.T) {
	for _, tc := range []struct {
		reason     string
		cluster    *v1.Cluster
		platform   string
		constraint bool
	}{
		{"nothing is known", nil, "", false},
		{"no cluster in the spec", nil, "openshift", true},
		{"no type in the spec", &v1.Cluster{NetworkPolicy: true}, "openshift", true},
		{"the same", &v1.Cluster{Type: "openshift"}, "openshift", true},
		{"the spec says kubernetes", &v1.Cluster{Type: "kubernetes"}, "openshift", false},
		{"the spec says openshift", &v1.Cluster{Type: "openshift"}, "kubernetes", true},
		{"it is found to be kubernetes", nil, "kubernetes", false},
	} {
		i := instance()
		i.Spec.Cluster = tc.cluster
		set, err := Platform{Type: tc.platform}.Render(fixture(), "v2.9.0", i)
		if err != nil {
			t.Fatal(err)
		}
		o, _ := objectOf(set, "Deployment", "source-controller")
		_, found, err := unstructured.NestedMap(o.Object, "spec", "template", "spec", "securityContext")
		if found == tc.constraint || err != nil {
			t.Errorf("%s: the pods' security context is there: %t, %v", tc.reason, found, err)
		}
		if got := constraintOf(t, set, "source-controller"); (got == "restricted-v2") != tc.constraint {
			t.Errorf("%s: the pods require the constraint %q", tc.reason, got)
		}
	}
}

// constraintOf reads which of OpenShift's constraints the pods of a controller require.
func constraintOf(t *testing.T, set *Set, deployment string) string {
	t.Helper()
	o, found := objectOf(set, "Deployment", deployment)
	if !found {
		t.Fatalf("no Deployment %s", deployment)
	}
	constraint, _, err := unstructured.NestedString(o.Object, "spec", "template", "metadata", "annotations", "openshift.io/required-scc")
	if err != nil {
		t.Fatal(err)
	}
	return constraint
}

// TestEveryControllerIsConfinedOnOpenShift, those of shards as well: OpenShift would admit the pods of those that are cluster-admin, with
// nothing set, under "anyuid".
func TestEveryControllerIsConfinedOnOpenShift(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		set, err := Platform{Type: openshift}.Render(tree, release, everything(tree, release))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range set.Objects {
			if o.GetKind() != "Deployment" {
				continue
			}
			if got := constraintOf(t, set, o.GetName()); got != "restricted-v2" {
				t.Errorf("%s requires the constraint %q", o.GetName(), got)
			}
		}
	})
}

// TestPatchesChooseTheConstraint: another one, or the one that OpenShift prefers.
func TestPatchesChooseTheConstraint(t *testing.T) {
	for patch, want := range map[string]string{
		`{spec: {template: {metadata: {annotations: {openshift.io/required-scc: nonroot-v2}}}}}`: "nonroot-v2",
		`{spec: {template: {metadata: {annotations: {openshift.io/required-scc: null}}}}}`:       "",
	} {
		i := instance()
		i.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{Patch: patch, Target: &kustomize.Selector{Kind: "Deployment", Name: "kustomize-controller"}}}}
		set, err := Platform{Type: openshift}.Render(fixture(), "v2.9.0", i)
		if err != nil {
			t.Fatal(err)
		}
		if got := constraintOf(t, set, "kustomize-controller"); got != want {
			t.Errorf("patched to %q, the pods require the constraint %q", want, got)
		}
		if got := constraintOf(t, set, "source-controller"); got != "restricted-v2" {
			t.Errorf("not patched, the pods require the constraint %q", got)
		}
	}
}

// TestProxyReachesEveryController, those of shards as well, and nothing else of the set changes.
func TestProxyReachesEveryController(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		i := everything(tree, release)
		before, err := Render(tree, release, i)
		if err != nil {
			t.Fatal(err)
		}
		platform := Platform{Proxy: platformOf().Proxy}
		set, err := platform.Render(tree, release, i)
		if err != nil {
			t.Fatal(err)
		}
		for n, o := range set.Objects {
			if o.GetKind() != "Deployment" {
				if diff := cmp.Diff(before.Objects[n], o); diff != "" {
					t.Errorf("%s changed:\n%s", describe(o), diff)
				}
				continue
			}
			env := envOf(t, set, o.GetName())
			if env["HTTP_PROXY"] != "http://proxy.example.com:3128" || env["HTTPS_PROXY"] != "http://user:p$$(x)@proxy.example.com:3128" {
				t.Errorf("%s has the environment %v", o.GetName(), env)
			}
			domain := strings.TrimSuffix(i.Cluster().Domain, ".")
			want := ".example.com,172.30.0.0/16,$(KUBERNETES_SERVICE_HOST),.svc,.svc.,." + domain + ",." + domain + "."
			if env["NO_PROXY"] != want {
				t.Errorf("%s goes directly to %q, want %q", o.GetName(), env["NO_PROXY"], want)
			}
		}
	})
}

// TestNoProxyIsUnderstood asks the library that the controllers use what it makes of the list.
func TestNoProxyIsUnderstood(t *testing.T) {
	proxy := Proxy{HTTP: "http://proxy.example.com:3128", HTTPS: "http://proxy.example.com:3128", No: " git.example.com , .svc"}.Direct("example.org.", "172.30.0.1", "fd00::1", "")
	if want := "git.example.com,.svc,172.30.0.1,fd00::1,.svc.,.example.org,.example.org."; proxy.No != want {
		t.Errorf("got %q, want %q", proxy.No, want)
	}
	if again := proxy.Direct("example.org", "172.30.0.1"); again != proxy {
		t.Errorf("done twice: %q, before %q", again.No, proxy.No)
	}
	config := httpproxy.Config{HTTPProxy: proxy.HTTP, HTTPSProxy: proxy.HTTPS, NoProxy: proxy.No}
	for address, direct := range map[string]bool{
		"http://source-controller.flux-system.svc.example.org./gitrepository/a": true,
		"http://source-controller.flux-system.svc.example.org/gitrepository/a":  true,
		"http://source-controller.flux-system.svc./":                            true,
		"http://source-controller.flux-system.svc/":                             true,
		"https://172.30.0.1:443/api":                                            true,
		"https://[fd00::1]:443/api":                                             true,
		"https://git.example.com/a":                                             true,
		"https://example.com/a":                                                 false,
		"https://github.com/a":                                                  false,
	} {
		asked := parseURL(t, address)
		through, err := config.ProxyFunc()(asked)
		if err != nil || (through == nil) != direct {
			t.Errorf("%s goes through %v, %v", address, through, err)
		}
	}
}

// TestOnlyAProxyIsHandedOn: a list of exceptions alone says nothing.
func TestOnlyAProxyIsHandedOn(t *testing.T) {
	plain, err := Render(fixture(), "v2.9.0", instance())
	if err != nil {
		t.Fatal(err)
	}
	for reason, platform := range map[string]Platform{
		"nothing":             {Type: "kubernetes"},
		"exceptions alone":    {Proxy: Proxy{No: ".example.com"}},
		"no authorities":      {TrustedCA: TrustedCA{Digest: "sha256:0"}},
		"no authorities yet":  {TrustedCA: TrustedCA{ConfigMap: "authorities"}},
		"images of elsewhere": {Images: RelatedImages{v1.SourceController: "example.com/a@sha256:0"}},
	} {
		set, err := platform.Render(fixture(), "v2.9.0", instance())
		if err != nil || set.Revision != plain.Revision {
			t.Errorf("%s: %v, %v; want %v", reason, set.Revision, err, plain.Revision)
		}
	}
	set, err := Platform{Proxy: Proxy{HTTPS: "http://proxy.example.com"}}.Render(fixture(), "v2.9.0", instance())
	if err != nil {
		t.Fatal(err)
	}
	if _, found := envOf(t, set, "source-controller")["HTTP_PROXY"]; found {
		t.Error("a proxy for HTTP was made up")
	}
}

// TestPatchesWinOverProxy: the user has the last word.
func TestPatchesWinOverProxy(t *testing.T) {
	i := instance()
	i.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
		Target: &kustomize.Selector{Kind: "Deployment", Name: "source-controller"},
		Patch: `{spec: {template: {spec: {containers: [{name: manager, env: [
			{name: HTTPS_PROXY, value: "http://other.example.com"}, {name: HTTP_PROXY, $patch: delete}]}]}}}, apiVersion: apps/v1, kind: Deployment, metadata: {name: any}}`,
	}}}
	set, err := platformOf().Render(fixture(), "v2.9.0", i)
	if err != nil {
		t.Fatal(err)
	}
	env := envOf(t, set, "source-controller")
	if _, found := env["HTTP_PROXY"]; found || env["HTTPS_PROXY"] != "http://other.example.com" {
		t.Errorf("got %v", env)
	}
}

// TestTrustedAuthorities: mounted where Go looks, besides the roots of the image, and only when there are some.
func TestTrustedAuthorities(t *testing.T) {
	platform := platformOf()
	platform.TrustedCA.Digest = ""
	set, err := platform.Render(fixture(), "v2.9.0", instance())
	if err != nil {
		t.Fatal(err)
	}
	config, found := objectOf(set, "ConfigMap", "flux-trusted-ca")
	if !found || config.GetLabels()[injectLabel] != "true" || config.GetNamespace() != instance().Namespace {
		t.Errorf("OpenShift is not asked for its authorities: %v", config)
	}
	if config != nil && config.Object["data"] != nil {
		t.Errorf("the data is OpenShift's: %v", config.Object["data"])
	}
	if _, found := envOf(t, set, "source-controller")["SSL_CERT_DIR"]; found {
		t.Error("there is nothing to trust yet")
	}

	set, err = platformOf().Render(fixture(), "v2.9.0", instance())
	if err != nil {
		t.Fatal(err)
	}
	for _, component := range instance().Components() {
		o, _ := objectOf(set, "Deployment", string(component))
		if got := envOf(t, set, o.GetName())["SSL_CERT_DIR"]; got != "/etc/ssl/certs:/etc/pki/tls/certs:/etc/ssl/trusted-ca" {
			t.Errorf("%s looks for certificates in %q", o.GetName(), got)
		}
		lines := values(nil, "", o.Object)
		for _, want := range []string{
			`.spec.template.spec.volumes[trusted-ca].configMap.name: "flux-trusted-ca"`,
			`.spec.template.spec.containers[manager].volumeMounts[trusted-ca].mountPath: "/etc/ssl/trusted-ca"`,
			`.spec.template.spec.containers[manager].volumeMounts[trusted-ca].readOnly: true`,
			`.spec.template.metadata.annotations.fluxcd.controlplane.io/trustedCA: "sha256:0"`,
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s lacks %s", o.GetName(), want)
			}
		}
	}

	named := Platform{TrustedCA: TrustedCA{ConfigMap: "authorities", Digest: "sha256:0"}}
	if set, err = named.Render(fixture(), "v2.9.0", instance()); err != nil {
		t.Fatal(err)
	}
	if _, found := objectOf(set, "ConfigMap", "authorities"); found {
		t.Error("a ConfigMap of the user is not the operator's")
	}
}

func parseURL(t *testing.T, address string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
