package bench

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// teams is how many namespaces the objects are spread over, commits how many revisions of sources there are.
	teams, commits = 100, 20
	// failingShare is one in how many objects fails from the start.
	failingShare = 50
	// storeWriters is how many transactions are on their way to etcd at the same time.
	storeWriters = 4
)

// What the model objects say where copies of them say something else.
const (
	modelName      = "application-00000"
	modelNamespace = "team-000"
	modelRevision  = "0000000000000000000000000000000000000000"
	modelReady     = `"status":"True","type":"Ready"`
	failingReady   = `"status":"False","type":"Ready"`
)

// modelObjects are one object of each kind.
//
//go:embed insights.yaml
var modelObjects []byte

// share is how many of a hundred objects are of a kind.
func share(kind string) int {
	switch kind {
	case "Kustomization":
		return 40
	case "HelmRelease":
		return 30
	case "OCIRepository", "GitRepository":
		return 8
	case "HelmChart", "HelmRepository":
		return 5
	default: // ImagePolicy, Receiver
		return 2
	}
}

// crowd is a kind of Flux with the objects that are stored of it.
type crowd struct {
	model    *unstructured.Unstructured
	resource schema.GroupVersionResource
	// stored is the model as the API server stored it; empty before.
	stored string
	uid    string
	// objects is how many there are.
	objects int
	// bytes is how many they take in the store.
	bytes int64
}

// named are the namespace and the name of an object.
func (*crowd) named(i int) client.ObjectKey {
	return client.ObjectKey{Namespace: fmt.Sprintf("team-%03d", i%teams), Name: fmt.Sprintf("application-%05d", i)}
}

// key is where an object is stored.
func (c *crowd) key(i int) string {
	named := c.named(i)
	return path.Join("/registry", c.resource.Group, c.resource.Resource, named.Namespace, named.Name)
}

// isFailing tells whether an object fails from the start.
func isFailing(i int) bool { return i%failingShare == failingShare-1 }

// copy is an object as the API server would have stored it.
func (c *crowd) copy(i int) pair {
	named := c.named(i)
	replace := []string{modelName, named.Name, modelNamespace, named.Namespace, modelRevision, fmt.Sprintf("%040x", 1+i%commits), c.uid, string(uuid.NewUUID())}
	if isFailing(i) {
		replace = append(replace, modelReady, failingReady)
	}
	return pair{[]byte(c.key(i)), []byte(strings.NewReplacer(replace...).Replace(c.stored))}
}

// crowds installs all kinds of Flux and stores the model of each kind that there are objects of.
func (b *bench) crowds(ctx context.Context) ([]*crowd, error) {
	resources, err := b.defineAll(ctx)
	if err != nil {
		return nil, err
	}
	for i := range teams {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%03d", i)}}
		if err := b.cluster.admin.Create(ctx, namespace); err != nil {
			return nil, fmt.Errorf("creating a namespace: %w", err)
		}
	}
	models, err := documents(modelObjects)
	if err != nil {
		return nil, err
	}
	var all []*crowd
	for _, model := range models {
		c := &crowd{model: model, resource: resources[model.GroupVersionKind().GroupKind()]}
		if err := b.cluster.storeModel(ctx, c); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// defineAll installs the definitions of the newest release and waits until all of them are served.
func (b *bench) defineAll(ctx context.Context) (map[schema.GroupKind]schema.GroupVersionResource, error) {
	definitions, err := b.distribution.definitions(b.distribution.release)
	if err != nil {
		return nil, err
	}
	resources := map[schema.GroupKind]schema.GroupVersionResource{}
	for _, crd := range definitions {
		if err := b.cluster.admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner(fieldManager)); err != nil {
			return nil, fmt.Errorf("applying %q: %w", crd.GetName(), err)
		}
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		plural, _, _ := strings.Cut(crd.GetName(), ".")
		resources[schema.GroupKind{Group: group, Kind: kind}] = schema.GroupVersionResource{Group: group, Resource: plural}
	}
	return resources, b.cluster.calm(ctx)
}

// definitions are those of all kinds of a release.
func (d *distribution) definitions(release string) ([]*unstructured.Unstructured, error) {
	files, err := fs.Glob(d.catalog.FS, path.Join("flux", release, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("listing the files of %s: %w", release, err)
	}
	var definitions []*unstructured.Unstructured
	for _, file := range files {
		data, err := fs.ReadFile(d.catalog.FS, file)
		if err != nil {
			return nil, fmt.Errorf("reading a release: %w", err)
		}
		objects, err := documents(data)
		if err != nil {
			return nil, fmt.Errorf("parsing %q: %w", file, err)
		}
		definitions = append(definitions, slices.DeleteFunc(objects, func(obj *unstructured.Unstructured) bool { return obj.GetKind() != crdKind })...)
	}
	return definitions, nil
}

// documents reads all objects of a file.
func documents(data []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var objects []*unstructured.Unstructured
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading an object: %w", err)
		}
		if len(obj.Object) > 0 {
			objects = append(objects, obj)
		}
	}
}

// storeModel has the API server store the model: its spec as its author writes it, then its status as the controller does.
func (c *cluster) storeModel(ctx context.Context, kind *crowd) error {
	made := kind.model.DeepCopy()
	if err := c.awaitServed(ctx, kind); err != nil {
		return err
	}
	if err := c.admin.Create(ctx, made, client.FieldOwner("kustomize-controller")); err != nil {
		return fmt.Errorf("storing a %s: %w", kind.model.GetKind(), err)
	}
	told := kind.model.DeepCopy()
	told.SetResourceVersion(made.GetResourceVersion())
	if err := c.admin.Status().Update(ctx, told, client.FieldOwner("gotk-controller")); err != nil {
		return fmt.Errorf("storing the status of a %s: %w", kind.model.GetKind(), err)
	}
	stored, err := etcd{c.plane.Store}.read(ctx, kind.key(0))
	if err != nil {
		return err
	}
	kind.stored, kind.uid, kind.objects, kind.bytes = string(stored), string(made.GetUID()), 1, int64(len(stored))
	if !strings.Contains(kind.stored, modelReady) {
		return fmt.Errorf("storing a %s: the API server stores it without its status: %.200s", kind.model.GetKind(), kind.stored)
	}
	return nil
}

// awaitServed waits until the API server knows a kind.
func (c *cluster) awaitServed(ctx context.Context, kind *crowd) error {
	ctx, cancel := context.WithTimeout(ctx, establishing)
	defer cancel()
	return c.group.Await(ctx, kind.resource.Resource+" to be served", func(ctx context.Context) error {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.model.GroupVersionKind())
		return c.admin.List(ctx, list, client.Limit(1))
	})
}

// grow stores copies until there are a number of objects in all. They go into the store directly, see [cluster.store].
func (c *cluster) grow(ctx context.Context, crowds []*crowd, objects int) error {
	var copies []pair
	for _, kind := range crowds {
		for ; kind.objects < objects*share(kind.model.GetKind())/100; kind.objects++ {
			one := kind.copy(kind.objects)
			kind.bytes += int64(len(one.Value))
			copies = append(copies, one)
		}
	}
	batches := slices.Collect(slices.Chunk(copies, etcdBatch))
	return sideBySide(storeWriters, len(batches), func(i int) error { return etcd{c.plane.Store}.write(ctx, batches[i]) })
}
