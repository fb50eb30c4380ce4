package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// storedRelease is a release whose Kustomizations may be stored in a version that the newest release does not know.
	storedRelease = "v2.6.4"
	oldVersion    = "v1beta2"
	newVersion    = "v1"
	storedPlural  = "kustomizations"
	storedGroup   = "kustomize.toolkit.fluxcd.io"
	// limitGroup holds a kind of the same definition that the operator does not know: there the API server's limit is measured.
	limitGroup = "bench.example.com"

	fluxFinalizer = "finalizers.fluxcd.io"
	pageSize      = 500
)

// population is a kind with stored objects.
type population struct {
	group string
	// names are those of the objects, the ones stored in the old version first.
	names []string
}

// resource is the path of the objects in the new version.
func (p population) resource() string {
	return "/apis/" + p.group + "/" + newVersion + "/namespaces/" + metav1.NamespaceDefault + "/" + storedPlural
}

// key is where an object is stored.
func (p population) key(name string) string {
	return "/registry/" + p.group + "/" + storedPlural + "/" + metav1.NamespaceDefault + "/" + name
}

func (p population) kind(version, suffix string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: p.group, Version: version, Kind: "Kustomization" + suffix}
}

// storedDefinition is the definition of the kind as the old release has it, in another group if need be, with the given storage version.
func (d *distribution) storedDefinition(group, storage string) (*unstructured.Unstructured, error) {
	crd, err := d.definition(storedRelease)
	if err != nil {
		return nil, err
	}
	crd.SetName(storedPlural + "." + group)
	return crd, errors.Join(unstructured.SetNestedField(crd.Object, group, "spec", "group"), storeIn(crd, storage))
}

// definition is that of the kind in a release.
func (d *distribution) definition(release string) (*unstructured.Unstructured, error) {
	file := path.Join("flux", release, "kustomize-controller.yaml")
	data, err := fs.ReadFile(d.catalog.FS, file)
	if err != nil {
		return nil, fmt.Errorf("reading a definition: %w", err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		crd := &unstructured.Unstructured{}
		if err := decoder.Decode(crd); errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading %q: the definition of %s is missing", file, storedPlural)
		} else if err != nil {
			return nil, fmt.Errorf("parsing %q: %w", file, err)
		}
		if crd.GetName() == storedPlural+"."+storedGroup {
			return crd, nil
		}
	}
}

// storeIn changes the storage version of a definition.
func storeIn(crd *unstructured.Unstructured, storage string) error {
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil {
		return fmt.Errorf("reading the versions of %q: %w", crd.GetName(), err)
	}
	for _, version := range versions {
		if fields, ok := version.(map[string]any); ok {
			fields["storage"] = fields["name"] == storage
		}
	}
	return unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions")
}

// populate stores objects, some of them in the old version, as a cluster has them that went through an upgrade.
func (b *bench) populate(ctx context.Context, group string, objects, old int) (population, error) {
	p := population{group: group}
	for i := range objects {
		p.names = append(p.names, fmt.Sprintf("app-%05d", i))
	}
	if err := b.define(ctx, p, oldVersion); err != nil {
		return p, err
	}
	if err := b.cluster.store(ctx, p, oldVersion, p.names[:old]); err != nil {
		return p, err
	}
	if err := b.define(ctx, p, newVersion); err != nil {
		return p, err
	}
	return p, b.cluster.store(ctx, p, newVersion, p.names[old:])
}

// define applies the definition and waits until the API server has digested it.
func (b *bench) define(ctx context.Context, p population, storage string) error {
	crd, err := b.distribution.storedDefinition(p.group, storage)
	if err != nil {
		return err
	}
	if err := b.cluster.admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("applying %q: %w", crd.GetName(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, establishing)
	defer cancel()
	err = b.cluster.group.Await(ctx, crd.GetName()+" to be served", func(ctx context.Context) error {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(p.kind(storage, "List"))
		return b.cluster.admin.List(ctx, list, client.Limit(1))
	})
	if err != nil {
		return err
	}
	return b.cluster.calm(ctx)
}

// store puts objects into the store. The first of each version is created by the API server, the others are copies of what it made of that
// one: the API server itself would take longer to create them than the operator needs for all its work.
func (c *cluster) store(ctx context.Context, p population, version string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	obj := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"interval": "10m", "path": "./deploy", "prune": true, "suspend": true, "sourceRef": map[string]any{"kind": "GitRepository", "name": "fleet"},
	}}}
	obj.SetGroupVersionKind(p.kind(version, ""))
	obj.SetNamespace(metav1.NamespaceDefault)
	obj.SetName(names[0])
	obj.SetFinalizers([]string{fluxFinalizer})
	if err := c.admin.Create(ctx, obj, client.FieldOwner("kustomize-controller")); err != nil {
		return fmt.Errorf("storing an object: %w", err)
	}
	// The first status is a write of its own, which every object of a running Flux has behind it.
	status := client.RawPatch(types.MergePatchType, []byte(`{"status":{"observedGeneration":1}}`))
	if err := c.admin.Status().Patch(ctx, obj, status, client.FieldOwner("kustomize-controller")); err != nil {
		return fmt.Errorf("storing the status of an object: %w", err)
	}
	e := etcd{c.plane.Store}
	made, err := e.read(ctx, p.key(names[0]))
	if err != nil {
		return err
	}
	if !bytes.Contains(made, []byte(p.group+"/"+version+`"`)) {
		return fmt.Errorf("storing objects in version %s: the API server does not", version)
	}
	var copies []pair
	for _, name := range names[1:] {
		other := strings.NewReplacer(`"`+names[0]+`"`, `"`+name+`"`, string(obj.GetUID()), string(uuid.NewUUID()))
		copies = append(copies, pair{[]byte(p.key(name)), []byte(other.Replace(string(made)))})
	}
	for chunk := range slices.Chunk(copies, etcdBatch) {
		if err := e.write(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// each goes through the metadata of all objects of a kind.
func (c *cluster) each(ctx context.Context, p population, do func(*metav1.PartialObjectMetadata)) error {
	page := &metav1.PartialObjectMetadataList{}
	for next := ""; ; {
		page.SetGroupVersionKind(p.kind(newVersion, "List"))
		if err := c.admin.List(ctx, page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return fmt.Errorf("listing objects: %w", err)
		}
		for i := range page.Items {
			do(&page.Items[i])
		}
		if next = page.Continue; next == "" {
			return nil
		}
	}
}

// revisions are the resource versions of all objects of a kind: one that was written has another.
func (c *cluster) revisions(ctx context.Context, p population) (map[string]string, error) {
	revisions := map[string]string{}
	err := c.each(ctx, p, func(obj *metav1.PartialObjectMetadata) { revisions[obj.Name] = strings.Clone(obj.ResourceVersion) })
	return revisions, err
}

// changed counts the objects with another resource version than before.
func changed(before, after map[string]string) int {
	count := 0
	for name, revision := range after {
		if revision != before[name] {
			count++
		}
	}
	return count
}
