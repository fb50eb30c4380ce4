package distribution

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// generatorAnnotation names the tool that generated a CRD. It is left out: it would change the manifests of a release
// whenever the tool does.
const generatorAnnotation = "controller-gen.kubebuilder.io/version"

// ReadCRDs parses the documents that controller-gen wrote for one component, sorts them by name and removes the
// generator's annotation; documents of another kind are an error, as is the absence of any.
func ReadCRDs(documents []byte) ([]*unstructured.Unstructured, error) {
	var crds []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(documents)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("splitting CRDs: %w", err)
		}
		crd, err := readCRD(document)
		if errors.Is(err, errEmpty) {
			continue
		}
		if err != nil {
			return nil, err
		}
		crds = append(crds, crd)
	}
	if len(crds) == 0 {
		return nil, errors.New("reading CRDs: there are none")
	}
	slices.SortFunc(crds, func(a, b *unstructured.Unstructured) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return crds, nil
}

// errEmpty tells an empty document from a broken one.
var errEmpty = errors.New("the document is empty")

// readCRD fails with errEmpty for an empty document.
func readCRD(document []byte) (*unstructured.Unstructured, error) {
	content, err := yaml.YAMLToJSON(document)
	if err != nil {
		return nil, fmt.Errorf("parsing CRD: %w", err)
	}
	if string(content) == "null" {
		return nil, errEmpty
	}
	crd := &unstructured.Unstructured{}
	if err := crd.UnmarshalJSON(content); err != nil {
		return nil, fmt.Errorf("parsing CRD: %w", err)
	}
	if kind := crd.GetKind(); kind != "CustomResourceDefinition" {
		return nil, fmt.Errorf("parsing CRD %q: kind is %q", crd.GetName(), kind)
	}
	unstructured.RemoveNestedField(crd.Object, "metadata", "annotations", generatorAnnotation)
	if len(crd.GetAnnotations()) == 0 {
		unstructured.RemoveNestedField(crd.Object, "metadata", "annotations")
	}
	return crd, nil
}

// labelled returns a copy of the CRD with the labels by which all definitions of Flux are found, whatever the release says
// of its other objects.
func labelled(crd *unstructured.Unstructured, component Component) *unstructured.Unstructured {
	crd = crd.DeepCopy()
	crd.SetLabels(map[string]string{labelComponent: component.Name, labelPartOf: partOf})
	return crd
}
