package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// exampleSpecs has a spec for each kind that every version of it accepts.
	exampleSpecs = "../../pkg/migrate/testdata/specs.yaml"
	// storers is how many objects are stored at the same time.
	storers = 8
)

// storedObject is an object of a user.
type storedObject struct {
	kind schema.GroupKind
	name string
	uid  types.UID
	// spec is what its owner wrote, without the defaults of a version.
	spec map[string]any
}

// storedNamespace is where the objects are.
func storedNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stored"}}
}

// storeBetas stores at least so many objects, of every kind of Flux in each of its beta versions, and leaves the definitions as they were.
func storeBetas(ctx context.Context, count int) []storedObject {
	GinkgoHelper()
	if err := here.Client.Create(ctx, storedNamespace()); !apierrors.IsAlreadyExists(err) {
		must(err)
	}
	crds := ownedDefinitions(ctx)
	pairs := 0
	for i := range crds {
		pairs += len(betas(&crds[i]))
	}
	Expect(pairs).To(BeNumerically(">=", len(crds)), "every kind of that release has a beta version")
	each := (count + pairs - 1) / pairs
	var stored []storedObject
	for i := range crds {
		crd := &crds[i]
		storage := storageVersion(crd)
		probe := storeSome(ctx, crd, storage, 1)[0]
		for _, version := range betas(crd) {
			storeIn(ctx, crd, version, probe)
			stored = append(stored, storeSome(ctx, crd, version, each)...)
		}
		storeIn(ctx, crd, storage, probe)
		stored = append(stored, probe)
		live := get(ctx, client.ObjectKeyFromObject(crd), &apiextensionsv1.CustomResourceDefinition{})
		Expect(live.Status.StoredVersions).To(ContainElements(betas(crd)), crd.Name)
	}
	GinkgoWriter.Printf("%d objects of %d kinds are stored in %d beta versions\n", len(stored), len(crds), pairs)
	return stored
}

// ownedDefinitions are the definitions that the instance brought.
func ownedDefinitions(ctx context.Context) []apiextensionsv1.CustomResourceDefinition {
	GinkgoHelper()
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	must(here.Client.List(ctx, list, client.MatchingLabels{v1.OwnerNameLabel: v1.DefaultInstanceName}))
	Expect(list.Items).NotTo(BeEmpty())
	return list.Items
}

// betas are the beta versions that are served.
func betas(crd *apiextensionsv1.CustomResourceDefinition) []string {
	var found []string
	for _, version := range crd.Spec.Versions {
		if version.Served && strings.Contains(version.Name, "beta") {
			found = append(found, version.Name)
		}
	}
	return found
}

// storageVersion is the version in which objects are stored when they are written.
func storageVersion(crd *apiextensionsv1.CustomResourceDefinition) string {
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Storage })
	return crd.Spec.Versions[i].Name
}

// storedVersionsOf are those that a definition remembers.
func storedVersionsOf(ctx context.Context, name string) []string {
	GinkgoHelper()
	return get(ctx, client.ObjectKey{Name: name}, &apiextensionsv1.CustomResourceDefinition{}).Status.StoredVersions
}

// storeIn makes the API server store objects of a kind in a version, and waits until it does: from then on it writes an object that is stored
// in another one even if nothing about it changes.
func storeIn(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, version string, probe storedObject) {
	GinkgoHelper()
	live := get(ctx, client.ObjectKeyFromObject(crd), &apiextensionsv1.CustomResourceDefinition{})
	if storageVersion(live) == version {
		return
	}
	// This one writes the version's defaults: the next ones would write nothing if the storage version stayed.
	before, old := must1(probe.touch(ctx, version)), live.DeepCopy()
	for i := range live.Spec.Versions {
		live.Spec.Versions[i].Storage = live.Spec.Versions[i].Name == version
	}
	must(here.Client.Patch(ctx, live, client.MergeFrom(old)))
	eventually(ctx, soonLimit, crd.Name+" to be stored in "+version, func(ctx context.Context) error {
		now, err := probe.touch(ctx, version)
		if err == nil && now == before {
			err = errors.New("it is stored as before")
		}
		return err
	})
}

// touch has the API server look whether the object is stored as it should be, and returns its resource version.
func (s storedObject) touch(ctx context.Context, version string) (string, error) {
	obj := s.object(version)
	err := here.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte("{}")))
	return obj.GetResourceVersion(), err
}

// storeSome creates objects of a kind in a version, which do nothing: they are suspended where the version knows that.
func storeSome(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, version string, count int) []storedObject {
	GinkgoHelper()
	spec, known := exampleSpec(crd.Spec.Names.Kind)
	Expect(known).To(BeTrue(), "there is no example of "+crd.Spec.Names.Kind)
	if suspends(crd, version) {
		spec["suspend"] = true
	}
	stored := make([]storedObject, count)
	failures := make([]error, storers)
	var group sync.WaitGroup
	for worker := range storers {
		group.Go(func() {
			for i := worker; i < count && failures[worker] == nil; i += storers {
				stored[i] = storedObject{kind: schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}, spec: spec}
				obj := stored[i].object(version)
				obj.SetGenerateName(crd.Spec.Names.Singular + "-in-" + version + "-")
				obj.Object["spec"] = runtime.DeepCopyJSON(spec)
				failures[worker] = here.Client.Create(ctx, obj, client.FieldOwner("kustomize-controller"))
				stored[i].name, stored[i].uid = obj.GetName(), obj.GetUID()
			}
		})
	}
	group.Wait()
	must(errors.Join(failures...))
	return stored
}

// suspends tells whether objects can be suspended in a version.
func suspends(crd *apiextensionsv1.CustomResourceDefinition, version string) bool {
	for _, v := range crd.Spec.Versions {
		if v.Name == version {
			_, known := v.Schema.OpenAPIV3Schema.Properties["spec"].Properties["suspend"]
			return known
		}
	}
	return false
}

// exampleSpec is a spec that every version of a kind accepts.
func exampleSpec(kind string) (map[string]any, bool) {
	GinkgoHelper()
	content, err := os.ReadFile(exampleSpecs)
	must(err)
	specs := map[string]map[string]any{}
	content, err = yaml.YAMLToJSON(content)
	must(err)
	must(json.Unmarshal(content, &specs)) // whole numbers stay whole, as in objects
	spec, known := specs[kind]
	return spec, known
}

// object is the object without content, in a version.
func (s storedObject) object(version string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(s.kind.WithVersion(version))
	obj.SetNamespace(storedNamespace().Name)
	obj.SetName(s.name)
	return obj
}

// definitionsOf are the definitions of a release, as the distribution has them.
func definitionsOf(release string) []*unstructured.Unstructured {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(here.Distribution, "flux", release, "*.yaml"))
	must(err)
	var found []*unstructured.Unstructured
	for _, file := range files {
		content, err := os.ReadFile(file)
		must(err)
		for decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
			obj := &unstructured.Unstructured{}
			if err := decoder.Decode(&obj.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				must(fmt.Errorf("reading %q: %w", file, err))
			}
			if obj.GetKind() == "CustomResourceDefinition" {
				found = append(found, obj)
			}
		}
	}
	Expect(found).NotTo(BeEmpty(), "there is no Flux "+release)
	return found
}

// established waits until the newest version of a definition can be used.
func established(ctx context.Context, name string) *apiextensionsv1.CustomResourceDefinition {
	GinkgoHelper()
	crd := get(ctx, client.ObjectKey{Name: name}, &apiextensionsv1.CustomResourceDefinition{})
	eventually(ctx, soonLimit, name+" to be served in "+storageVersion(crd), func(ctx context.Context) error {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: crd.Spec.Group, Version: storageVersion(crd), Kind: crd.Spec.Names.ListKind})
		return here.Client.List(ctx, list, client.Limit(1))
	})
	return get(ctx, client.ObjectKey{Name: name}, crd)
}

// storedInOneVersion checks that every definition is clean.
func storedInOneVersion(ctx context.Context) {
	GinkgoHelper()
	for _, crd := range ownedDefinitions(ctx) {
		Expect(crd.Status.StoredVersions).To(Equal([]string{storageVersion(&crd)}), crd.Name)
	}
}

// unharmed checks that objects are there, are those that they were, and say what they said. What the newest release serves of a kind is one version;
// an object that were stored in another could not be read.
func unharmed(ctx context.Context, stored []storedObject) {
	GinkgoHelper()
	found := map[types.UID]*unstructured.Unstructured{}
	kinds := map[schema.GroupKind]bool{}
	for _, crd := range ownedDefinitions(ctx) {
		Expect(crd.Spec.Versions).To(HaveLen(1), crd.Name)
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: crd.Spec.Group, Version: storageVersion(&crd), Kind: crd.Spec.Names.ListKind})
		must(here.Client.List(ctx, list, client.InNamespace(storedNamespace().Name)))
		for i := range list.Items {
			found[list.Items[i].GetUID()] = &list.Items[i]
			kinds[list.Items[i].GroupVersionKind().GroupKind()] = true
		}
	}
	for _, was := range stored {
		is := found[was.uid]
		Expect(is).NotTo(BeNil(), "%s %s is lost", was.kind.Kind, was.name)
		spec, _, err := unstructured.NestedMap(is.Object, "spec")
		must(err)
		must(within(was.spec, spec, was.kind.Kind+" "+was.name+".spec"))
	}
	Expect(found).To(HaveLen(len(stored)), "of kinds %v", slices.Collect(maps.Keys(kinds)))
}

// within returns nil when everything in a value is in another, which may have defaults besides.
func within(was, is any, path string) error {
	fields, isMap := was.(map[string]any)
	others, isOther := is.(map[string]any)
	if !isMap || !isOther {
		if !reflect.DeepEqual(was, is) {
			return fmt.Errorf("%s was %v and is %v", path, was, is)
		}
		return nil
	}
	var differences []error
	for name, value := range fields {
		differences = append(differences, within(value, others[name], path+"."+name))
	}
	return errors.Join(differences...)
}
