package render

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// setting is one row of the golden table: what is asked for beyond all controllers of a release.
type setting struct {
	// name is that of the row's file in testdata/settings.
	name string
	// namespace of the instance, flux-system when empty.
	namespace string
	// spec is the spec in YAML. The components are all that a release has, the registry is that of Flux, network policies are on,
	// unless it says otherwise.
	spec string
}

// plain is the row that the other rows are told apart from.
const plain = "plain"

// settings are all settings of a spec, alone and in the combinations that matter.
func settings() []setting {
	return []setting{
		{name: plain},
		{name: "everything", namespace: "gitops", spec: everythingSpec},
		{name: "namespace", namespace: "gitops"},
		{name: "components-default", spec: "components: []"},
		{name: "components-one", spec: "components: [source-controller]"},
		{name: "components-without-notifications", spec: "components: [source-controller, kustomize-controller, helm-controller]"},
		{name: "components-source-watcher", spec: "components: [source-controller, kustomize-controller, source-watcher]"},
		{name: "registry-mirror", spec: "distribution: {registry: 'registry.example.com:5000/', variant: upstream-alpine, imagePullSecret: '123'}"},
		{name: "registry-docker-hub", spec: "distribution: {registry: fluxcd}"},
		{name: "registry-enterprise-alpine", spec: "distribution: {registry: ghcr.io/controlplaneio-fluxcd/alpine}"},
		{name: "registry-enterprise-distroless", spec: "distribution: {registry: 709825985650.dkr.ecr.us-east-1.amazonaws.com/controlplane/fluxcd}"},
		{name: "registry-enterprise-fips", spec: "distribution: {registry: ghcr.io/controlplaneio-fluxcd/distroless-fips}"},
		{name: "registry-unknown", spec: "distribution: {registry: registry.example.com/fluxcd}"},
		{name: "type-kubernetes", spec: "cluster: {networkPolicy: true, type: kubernetes}"},
		{name: "type-openshift", spec: "cluster: {networkPolicy: true, type: openshift}"},
		{name: "type-aws", spec: "cluster: {networkPolicy: true, type: aws}"},
		{name: "type-azure", spec: "cluster: {networkPolicy: true, type: azure}"},
		{name: "type-gcp", spec: "cluster: {networkPolicy: true, type: gcp}"},
		{name: "size-small", spec: "cluster: {networkPolicy: true, size: small}"},
		{name: "size-medium", spec: "cluster: {networkPolicy: true, size: medium}"},
		{name: "size-large", spec: "cluster: {networkPolicy: true, size: large}"},
		{name: "domain", spec: "cluster: {networkPolicy: true, domain: example.org.}"},
		{name: "network-policy-off", spec: "cluster: {networkPolicy: false}"},
		{name: "multitenant", spec: "cluster: {networkPolicy: true, multitenant: true}"},
		{name: "multitenant-account", spec: "cluster: {networkPolicy: true, multitenant: true, tenantDefaultServiceAccount: flux}\nsync: " + gitSync},
		{name: "workload-identity", spec: "cluster: {networkPolicy: true, objectLevelWorkloadIdentity: true}"},
		{name: "workload-identity-tenants", spec: "cluster: {networkPolicy: true, objectLevelWorkloadIdentity: true, multitenantWorkloadIdentity: true}"},
		{name: "workload-identity-tenants-accounts", spec: "cluster: {networkPolicy: true, multitenant: true, objectLevelWorkloadIdentity: true, multitenantWorkloadIdentity: true, " +
			"tenantDefaultServiceAccount: a, tenantDefaultDecryptionServiceAccount: b, tenantDefaultKubeConfigServiceAccount: c}"},
		{name: "workload-identity-tenants-alone", spec: "cluster: {networkPolicy: true, multitenantWorkloadIdentity: true}"},
		{name: "storage", spec: "storage: {class: standard, size: 10Gi}"},
		{name: "storage-default-class", spec: "storage: {class: '', size: '1'}"},
		{name: "shards", spec: "sharding: {shards: [a, '1']}"},
		{name: "shards-key-domain-size", spec: "sharding: {key: example.com/shard, shards: [a]}\ncluster: {networkPolicy: true, domain: example.org, size: large}"},
		{name: "shards-openshift-lockdown", spec: "sharding: {shards: [a]}\ncluster: {networkPolicy: true, type: openshift, multitenant: true}"},
		{name: "shards-ephemeral-storage", spec: "sharding: {shards: [a], storage: ephemeral}\nstorage: {class: standard, size: 10Gi}"},
		{name: "shards-persistent-storage", spec: "sharding: {shards: [a], storage: persistent}\nstorage: {class: standard, size: 10Gi}"},
		{name: "shards-without-storage", spec: "sharding: {shards: [a], storage: persistent}"},
		{name: "sync-git", spec: "sync: " + gitSync},
		{name: "sync-git-aws", spec: "sync: {kind: GitRepository, url: 'https://git.example.com/fleet', ref: refs/heads/main, path: ./, provider: aws}"},
		{name: "sync-git-azure", spec: "sync: {kind: GitRepository, url: 'https://git.example.com/fleet', ref: refs/heads/main, path: ./, provider: azure}"},
		{name: "sync-git-gcp", spec: "sync: {kind: GitRepository, url: 'https://git.example.com/fleet', ref: refs/heads/main, path: ./, provider: gcp}"},
		{name: "sync-git-github", spec: "sync: {kind: GitRepository, url: 'https://git.example.com/fleet', ref: refs/heads/main, path: ./, provider: github, pullSecret: app}"},
		{name: "sync-oci", spec: "sync: {name: fleet, kind: OCIRepository, url: 'oci://registry.example.com/fleet', ref: '1.10', path: 'a: b #c', interval: 90s, pullSecret: '123', provider: gcp}"},
		{name: "sync-oci-github", spec: "sync: {kind: OCIRepository, url: 'oci://registry.example.com/fleet', ref: latest, path: ./, provider: github}"},
		{name: "sync-oci-wrong-address", spec: "sync: {kind: OCIRepository, url: 'https://registry.example.com/fleet', ref: latest, path: ./}"},
		{name: "sync-bucket", spec: "sync: {kind: Bucket, url: minio.example.com, ref: '0123', path: '', provider: aws}"},
		{name: "common-metadata", spec: "commonMetadata: {labels: {team: '1', app.kubernetes.io/part-of: platform}, annotations: {example.com/note: 'a: b # c'}}"},
		{name: "patch-strategic-merge", spec: patching(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: source-controller}, spec: {template: {spec: {containers: [{name: manager, env: [{name: EXTRA, value: "1"}]}]}}}}`, nil)},
		{name: "patch-operations", spec: patching("[{op: add, path: /spec/template/spec/containers/0/args/-, value: --requeue-dependency=7s}]", &kustomize.Selector{Kind: "Deployment", Name: "(kustomize|helm)-controller"})},
		{name: "patch-label", spec: patching("[{op: remove, path: /spec/replicas}]", &kustomize.Selector{Kind: "Deployment", LabelSelector: "app.kubernetes.io/component in (helm-controller)"})},
		{name: "patch-annotation", spec: "sharding: {shards: [a]}\n" + patching("[{op: replace, path: /spec/replicas, value: 2}]", &kustomize.Selector{Kind: "Deployment", Name: "kustomize.*", AnnotationSelector: shardRole + "=shard"})},
		{name: "patch-image", spec: patching(`{spec: {template: {spec: {containers: [{name: manager, image: "registry.example.com/source-controller:rc-1"}]}}}}`, &kustomize.Selector{Kind: "Deployment", Name: "source-controller"})},
		{name: "patch-delete", spec: patching(`{$patch: delete, kind: NetworkPolicy}`, &kustomize.Selector{Kind: "NetworkPolicy"})},
		{name: "patch-definition", spec: patching("[{op: add, path: /metadata/annotations, value: {helm.sh/resource-policy: keep}}]", &kustomize.Selector{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: `.*\.helm\.toolkit.*`})},
		{name: "patch-target-of-later-releases", spec: patching("[{op: remove, path: /spec/replicas}]", &kustomize.Selector{Kind: "Deployment", Name: "source-watcher"})},
		{name: "patch-field-of-later-releases", spec: patching("[{op: replace, path: /spec/ingress/0/ports/0/port, value: 9393}]", &kustomize.Selector{Kind: "NetworkPolicy", Name: "allow-webhooks"})},
	}
}

const (
	gitSync = "{kind: GitRepository, url: 'https://git.example.com/fleet', ref: refs/heads/main, path: clusters/a, provider: generic}"

	// everythingSpec holds what every release can do.
	everythingSpec = `
distribution: {registry: ghcr.io/controlplaneio-fluxcd/distroless, imagePullSecret: pull}
commonMetadata: {labels: {team: a}, annotations: {note: b}}
cluster: {networkPolicy: true, multitenant: true, size: large, type: openshift, domain: example.org}
sharding: {key: example.com/shard, shards: [a, b], storage: persistent}
storage: {class: standard, size: 10Gi}
sync: {name: fleet, kind: OCIRepository, url: oci://registry.example.com/fleet, ref: latest, path: ./, provider: aws, pullSecret: fleet}
kustomize:
  patches:
  - target: {kind: Deployment}
    patch: "[{op: add, path: /spec/template/spec/tolerations, value: [{operator: Exists}]}]"
  - target: {kind: Namespace}
    patch: "{metadata: {labels: {example.com/guarded: 'yes'}}}"
`
)

// patching is a spec with one patch.
func patching(patch string, target *kustomize.Selector) string {
	spec := v1.FluxInstanceSpec{Kustomize: &v1.Kustomize{Patches: []kustomize.Patch{{Patch: patch, Target: target}}}}
	text, err := yaml.Marshal(map[string]any{"kustomize": spec.Kustomize})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// instance makes of the row what a user would write for a release.
func (s setting) instance(tb testing.TB, tree fs.FS, release string) *v1.FluxInstance {
	tb.Helper()
	i := &v1.FluxInstance{}
	i.Name, i.Namespace = "flux", cmp.Or(s.namespace, "flux-system")
	if err := yaml.UnmarshalStrict([]byte(s.spec), &i.Spec); err != nil {
		tb.Fatalf("setting %s: %v", s.name, err)
	}
	if i.Spec.Distribution.Registry == "" {
		i.Spec.Distribution.Registry = "ghcr.io/fluxcd"
	}
	if i.Spec.Components != nil {
		return i
	}
	i.Spec.Components = componentsOf(tree, release)
	return i
}

// componentsOf are the controllers that a release has.
func componentsOf(tree fs.FS, release string) []v1.Component {
	return slices.DeleteFunc(knownComponents(), func(component v1.Component) bool {
		_, err := fs.Stat(tree, path.Join("flux", release, string(component)+".yaml"))
		return err != nil
	})
}
