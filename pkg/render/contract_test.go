package render

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// effect is what a setting promises to do to the controllers, on releases from since on and before the other.
type effect struct {
	setting       string
	change        func(*v1.Cluster)
	since, before string
	// args are the arguments each controller gets on top of the common ones, separated by spaces.
	args map[v1.Component]string
	// refused is the field that a release refuses it for.
	refused string
}

// every gives several controllers the same arguments.
func every(args string, components ...v1.Component) map[v1.Component]string {
	result := map[v1.Component]string{}
	for _, component := range components {
		result[component] = args
	}
	return result
}

// both puts the arguments of several maps behind one another.
func both(all ...map[v1.Component]string) map[v1.Component]string {
	result := map[v1.Component]string{}
	for _, args := range all {
		for component, text := range args {
			result[component] = strings.TrimSpace(result[component] + " " + text)
		}
	}
	return result
}

const (
	noCross     = "--no-cross-namespace-refs=true"
	gateOpen    = "--feature-gates=ObjectLevelWorkloadIdentity=true"
	gateShut    = "--feature-gates=ObjectLevelWorkloadIdentity=false"
	anyArtifact = "--feature-gates=ExternalArtifact=true"
)

// effects is the contract: what settings of the cluster do to the arguments of the controllers, written down without looking at the code.
func effects() []effect {
	source, kustomize, helm, notification := v1.SourceController, v1.KustomizeController, v1.HelmController, v1.NotificationController
	reflector, automation, watcher := v1.ImageReflectorController, v1.ImageAutomationController, v1.SourceWatcher
	gated26 := []v1.Component{source, kustomize, notification, reflector, automation}
	gated27 := append(slices.Clone(gated26), helm)
	watched := every(anyArtifact, kustomize, helm)
	sized := func(appliers, sources string) map[v1.Component]string {
		return both(every(appliers, kustomize, helm), every(sources, source))
	}
	cache := func(size string) string {
		return "--helm-cache-max-size=" + size + " --helm-cache-ttl=720m --helm-cache-purge-interval=60m"
	}
	small := sized("--concurrent=5 --requeue-dependency=10s", cache("10"))
	medium := sized("--concurrent=10 --requeue-dependency=5s", cache("50")+" --concurrent=5")
	large := sized("--concurrent=20 --requeue-dependency=5s", cache("100")+" --concurrent=10")
	locked := func(account string) map[v1.Component]string {
		return both(every(noCross, kustomize, helm, notification, reflector, automation, watcher), every("--no-remote-bases=true", kustomize),
			every("--default-service-account="+account, kustomize, helm))
	}
	tenants := func(account, decryption, kubeConfig string) map[v1.Component]string {
		return both(every("--default-service-account="+account, source, notification, reflector, automation),
			every("--default-decryption-service-account="+decryption, kustomize),
			every("--default-kubeconfig-service-account="+kubeConfig, kustomize, helm))
	}
	object := func(c *v1.Cluster) { c.ObjectLevelWorkloadIdentity = true }
	tenant := func(c *v1.Cluster) { c.ObjectLevelWorkloadIdentity, c.MultitenantWorkloadIdentity = true, true }
	named := func(c *v1.Cluster) {
		tenant(c)
		c.Multitenant = true
		c.TenantDefaultServiceAccount, c.TenantDefaultDecryptionServiceAccount, c.TenantDefaultKubeConfigServiceAccount = "a", "b", "c"
	}
	shut := both(watched, every(gateShut, gated27...))
	open := both(watched, every(gateOpen, gated27...))
	return []effect{
		{setting: "none", before: "2.7", args: nil},
		{setting: "none", since: "2.7", args: shut},
		{setting: "size small", change: func(c *v1.Cluster) { c.Size = "small" }, before: "2.7", args: small},
		{setting: "size small", change: func(c *v1.Cluster) { c.Size = "small" }, since: "2.7", args: both(shut, small)},
		{setting: "size medium", change: func(c *v1.Cluster) { c.Size = "medium" }, since: "2.7", args: both(shut, medium)},
		{setting: "size large", change: func(c *v1.Cluster) { c.Size = "large" }, before: "2.7", args: large},
		{setting: "size large", change: func(c *v1.Cluster) { c.Size = "large" }, since: "2.7", args: both(shut, large)},
		{setting: "multitenant", change: func(c *v1.Cluster) { c.Multitenant = true }, before: "2.7", args: locked("default")},
		{setting: "multitenant", change: func(c *v1.Cluster) { c.Multitenant = true }, since: "2.7", args: both(shut, locked("default"))},
		{setting: "multitenant with an account", change: func(c *v1.Cluster) { c.Multitenant, c.TenantDefaultServiceAccount = true, "flux" },
			since: "2.7", args: both(shut, locked("flux"))},
		{setting: "an account alone", change: func(c *v1.Cluster) { c.TenantDefaultServiceAccount = "flux" }, since: "2.7", args: shut},
		{setting: "object level identity", change: object, before: "2.6", refused: "spec.cluster.objectLevelWorkloadIdentity"},
		{setting: "object level identity", change: object, since: "2.6", before: "2.7", args: every(gateOpen, gated26...)},
		{setting: "object level identity", change: object, since: "2.7", args: open},
		{setting: "tenants' identity", change: tenant, before: "2.6", refused: "spec.cluster.objectLevelWorkloadIdentity"},
		{setting: "tenants' identity", change: tenant, since: "2.6", before: "2.7", refused: "spec.cluster.multitenantWorkloadIdentity"},
		{setting: "tenants' identity", change: tenant, since: "2.7", args: both(open, tenants("default", "default", "default"))},
		{setting: "tenants' identity under lockdown, all named", change: named, since: "2.7",
			args: both(open, locked("a"), tenants("a", "b", "c"))},
	}
}

// TestContractOfArguments holds the arguments of every controller of every release against the contract: these and no others.
func TestContractOfArguments(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		for _, want := range effects() {
			i := complete(tree, release)
			r, err := load(tree, release, i)
			if err != nil {
				t.Fatal(err)
			}
			if !within(r, want.since, want.before) {
				continue
			}
			if want.change != nil {
				want.change(i.Spec.Cluster)
			}
			set, err := Render(tree, release, i)
			if want.refused != "" {
				if err == nil || !strings.HasPrefix(err.Error(), want.refused+": ") {
					t.Errorf("%s: %v, want an error about %s", want.setting, err, want.refused)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", want.setting, err)
			}
			for _, component := range i.Components() {
				wanted := append(commonArgs(component, "source-controller"), strings.Fields(want.args[component])...)
				compareArgs(t, want.setting, set, string(component), wanted)
			}
		}
	})
}

// TestContractOfShards: the main set leaves alone what is labelled, each shard takes its own, and the rest is the same for both.
func TestContractOfShards(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		i := complete(tree, release)
		sharded("a", "b-1")(i)
		i.Spec.Sharding.Key = "example.com/shard"
		set, err := Render(tree, release, i)
		if err != nil {
			t.Fatal(err)
		}
		r, err := load(tree, release, i)
		if err != nil {
			t.Fatal(err)
		}
		for _, component := range i.Components() {
			isSharded := component != v1.NotificationController && (component != v1.SourceWatcher || r.atLeast(2, 9))
			gates := gatesOf(r, component)
			main := append(commonArgs(component, string(component)), gates...)
			if isSharded {
				main = append(main, "--watch-label-selector=!example.com/shard")
			}
			compareArgs(t, "the main set", set, string(component), main)
			for _, shard := range i.Spec.Sharding.Shards {
				name := string(component) + "-" + shard
				deployment, found := objectOf(set, "Deployment", name)
				if found != isSharded {
					t.Errorf("Deployment %s: %t, want %t", name, found, isSharded)
				}
				if !found {
					continue
				}
				compareArgs(t, "a shard", set, name, append(append(commonArgs(component, name), gates...), "--watch-label-selector=example.com/shard="+shard))
				if account := textAt(deployment.Object, "spec", "template", "spec", "serviceAccountName"); account != string(component) {
					t.Errorf("%s runs as %q", name, account)
				}
				service, served := objectOf(set, "Service", name)
				if served != storesArtifacts(component) || served && textAt(service.Object, "spec", "selector", "app") != name {
					t.Errorf("Service %s: %t, %v", name, served, service)
				}
			}
		}
	})
}

// TestContractOfRights: the right to make tokens for any account is there exactly where workload identity needs it, and the kinds of
// the operator are everywhere where notifications can name kinds.
func TestContractOfRights(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		for _, wanted := range []bool{false, true} {
			i := complete(tree, release)
			r, err := load(tree, release, i)
			if err != nil {
				t.Fatal(err)
			}
			if wanted && !r.atLeast(2, 6) {
				continue
			}
			i.Spec.Cluster.ObjectLevelWorkloadIdentity = wanted
			set, err := Render(tree, release, i)
			if err != nil {
				t.Fatal(err)
			}
			role, _ := objectOf(set, "ClusterRole", "crd-controller-flux-system")
			rules := fmt.Sprint(role.Object["rules"])
			if strings.Contains(rules, "serviceaccounts/token") != wanted || !strings.Contains(rules, v1.Group) {
				t.Errorf("workload identity %t, and the rules are %s", wanted, rules)
			}
			for name, list := range map[string]string{"alerts": "eventSources", "receivers": "resources"} {
				crd, _ := objectOf(set, "CustomResourceDefinition", name+"."+notificationGroup)
				checkKinds(t, crd, list)
			}
		}
	})
}

func checkKinds(t *testing.T, crd *unstructured.Unstructured, list string) {
	t.Helper()
	versions, err := mapsAt(crd.Object, "spec", "versions")
	if err != nil || len(versions) == 0 {
		t.Fatalf("%s has no versions: %v", describe(crd), err)
	}
	for _, version := range versions {
		schema, err := mapAt(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", list, "items", "properties", "kind")
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{v1.FluxInstanceKind, "ResourceSet", "ResourceSetInputProvider", "GitRepository"} {
			if kinds, err := listAt(schema, "enum"); err != nil || !slices.Contains(kinds, any(kind)) {
				t.Errorf("%s %v does not take kind %s: %v, %v", describe(crd), version["name"], kind, kinds, err)
			}
		}
	}
}

// complete asks for all controllers that the release has, and for nothing else.
func complete(tree fs.FS, release string) *v1.FluxInstance {
	i := instance()
	i.Spec.Components = componentsOf(tree, release)
	return i
}

func within(r *release, since, before string) bool {
	reaches := func(minor string) bool {
		var major, number uint64
		if _, err := fmt.Sscanf(minor, "%d.%d", &major, &number); err != nil {
			panic(err)
		}
		return r.atLeast(major, number)
	}
	return (since == "" || reaches(since)) && (before == "" || !reaches(before))
}

// gatesOf are the feature gates of a controller without workload identity.
func gatesOf(r *release, component v1.Component) []string {
	var gates []string
	if !r.atLeast(2, 7) {
		return nil
	}
	if component == v1.KustomizeController || component == v1.HelmController {
		gates = append(gates, anyArtifact)
	}
	if component != v1.SourceWatcher {
		gates = append(gates, gateShut)
	}
	return gates
}

// commonArgs are the arguments that a controller always has; name is that of the Service in front of it.
func commonArgs(component v1.Component, name string) []string {
	args := []string{"--watch-all-namespaces=true", "--log-level=info", "--log-encoding=json", "--enable-leader-election"}
	if component != v1.NotificationController {
		args = append(args, "--events-addr=http://notification-controller.flux-system.svc.cluster.local./")
	}
	if storesArtifacts(component) {
		if component == v1.SourceWatcher && name == string(v1.SourceController) {
			name = string(v1.SourceWatcher)
		}
		args = append(args, "--storage-path=/data", "--storage-adv-addr="+name+".$(RUNTIME_NAMESPACE).svc.cluster.local.")
	}
	return args
}

func objectOf(set *Set, kind, name string) (*unstructured.Unstructured, bool) {
	for _, o := range set.Objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o, true
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{}}, false
}

// compareArgs compares without regard to order, which has no meaning for flags that are there once.
func compareArgs(t *testing.T, setting string, set *Set, deployment string, want []string) {
	t.Helper()
	o, found := objectOf(set, "Deployment", deployment)
	if !found {
		t.Errorf("%s: no Deployment %s", setting, deployment)
		return
	}
	w, err := openWorkload(&object{Unstructured: o})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, arg := range w.manager["args"].([]any) {
		got = append(got, fmt.Sprint(arg))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: arguments of %s (-want +got):\n%s", setting, deployment, diff)
	}
}
