package distribution

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// CRDs maps the components of a release to their custom resource definitions.
type CRDs map[string][]*unstructured.Unstructured

// Files returns the files of the release by their slash-separated paths in the distribution; a component without
// CRDs is an error. The same input gives the same bytes.
func (r Release) Files(crds CRDs) (map[string][]byte, error) {
	files := map[string][]byte{}
	folder := path.Join("flux", r.Tag())
	for _, component := range r.Components {
		objects, err := r.componentObjects(component, crds[component.Name])
		if err != nil {
			return nil, fmt.Errorf("building %q of Flux %s: %w", component.Name, r.Version, err)
		}
		if files[path.Join(folder, component.Name+".yaml")], err = encode(objects); err != nil {
			return nil, fmt.Errorf("encoding %q of Flux %s: %w", component.Name, r.Version, err)
		}
	}
	var err error
	if files[path.Join(folder, "rbac.yaml")], err = encode(r.rbac()); err != nil {
		return nil, fmt.Errorf("encoding roles of Flux %s: %w", r.Version, err)
	}
	if files[path.Join(folder, "policies.yaml")], err = encode(r.policies()); err != nil {
		return nil, fmt.Errorf("encoding policies of Flux %s: %w", r.Version, err)
	}
	for variant := range r.Images {
		name := path.Join("flux-images", r.Tag(), string(variant)+".yaml")
		if files[name], err = yaml.Marshal(r.imageList(variant)); err != nil {
			return nil, fmt.Errorf("encoding images %q of Flux %s: %w", variant, r.Version, err)
		}
	}
	return files, nil
}

// VersionFile returns path and content of the file that names the newest of the releases, which must be sorted oldest
// first as those of a Catalog are.
func VersionFile(releases []Release) (string, []byte) {
	return "flux-images/VERSION", []byte(releases[len(releases)-1].Tag() + "\n")
}

// componentObjects are in the order of the released files: definitions, account, services, deployment.
func (r Release) componentObjects(component Component, crds []*unstructured.Unstructured) ([]any, error) {
	if len(crds) == 0 {
		return nil, errors.New("no CRDs given")
	}
	workload, err := workloadOf(component.Name)
	if err != nil {
		return nil, err
	}
	var objects []any
	for _, crd := range crds {
		objects = append(objects, labelled(crd, component))
	}
	objects = append(objects, r.serviceAccount(component))
	for _, service := range workload.services {
		objects = append(objects, r.service(component, service))
	}
	return append(objects, r.deployment(component, workload)), nil
}

// image is one entry of an image list, with the keys of kustomize's image transformer.
type image struct {
	Name   string `json:"name"`
	NewTag string `json:"newTag"`
	Digest string `json:"digest,omitempty"`
}

type imageList struct {
	Images []image `json:"images"`
}

func (r Release) imageList(variant Variant) imageList {
	images := r.Images[variant]
	var list imageList
	for _, component := range r.Components {
		list.Images = append(list.Images, image{
			Name:   variant.Registry() + "/" + component.Name,
			NewTag: cmp.Or(images.Tags[component.Name], component.Version),
			Digest: images.Digests[component.Name],
		})
	}
	return list
}

// encode writes objects as YAML documents with sorted keys.
func encode(objects []any) ([]byte, error) {
	var out bytes.Buffer
	for i, object := range objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return nil, fmt.Errorf("converting %T: %w", object, err)
		}
		dropZeroes(content)
		document, err := yaml.Marshal(content)
		if err != nil {
			return nil, fmt.Errorf("marshalling %T: %w", object, err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(document)
	}
	return out.Bytes(), nil
}

// dropZeroes removes what Go's types write although it was never set, since applying an empty status or strategy
// would claim fields that belong to others.
func dropZeroes(object map[string]any) {
	unstructured.RemoveNestedField(object, "status")
	unstructured.RemoveNestedField(object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(object, "spec", "template", "metadata", "creationTimestamp")
	if strategy, ok, _ := unstructured.NestedMap(object, "spec", "strategy"); ok && len(strategy) == 0 {
		unstructured.RemoveNestedField(object, "spec", "strategy")
	}
	containers, _, _ := unstructured.NestedFieldNoCopy(object, "spec", "template", "spec", "containers")
	for _, container := range mapsIn(containers) {
		for _, variable := range mapsIn(container["env"]) {
			unstructured.RemoveNestedField(variable, "valueFrom", "resourceFieldRef", "divisor")
		}
	}
}

// mapsIn returns the maps in a list of any type, without copying them.
func mapsIn(list any) []map[string]any {
	items, _ := list.([]any)
	var found []map[string]any
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			found = append(found, object)
		}
	}
	return found
}
