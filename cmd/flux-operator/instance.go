package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// readInstance finds the one FluxInstance in a stream of YAML or JSON documents and checks it as the API server would.
//
// Other kinds beside it are passed over, so that the output of other tools can be piped in. The namespace is used where the file
// names none.
func readInstance(ctx context.Context, content []byte, namespace string) (*v1.FluxInstance, error) {
	document, err := findInstance(content)
	if err != nil {
		return nil, err
	}
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(namespace)
	}
	rules, err := loadRules()
	if err != nil {
		return nil, err
	}
	if err := rules.complete(ctx, object.Object); err != nil {
		return nil, err
	}
	checked, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	instance := &v1.FluxInstance{}
	return instance, yaml.UnmarshalStrict(checked, instance)
}

// findInstance returns the document with the FluxInstance as it is written.
func findInstance(content []byte) ([]byte, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	var found []byte
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, err
		}
		if kind.Kind != v1.FluxInstanceKind {
			continue
		}
		if want := v1.GroupVersion.String(); kind.APIVersion != want {
			return nil, fmt.Errorf("apiVersion: %q is not known; write %s", kind.APIVersion, want)
		}
		if found != nil {
			return nil, errors.New("it holds more than one FluxInstance; a cluster has one")
		}
		found = document
	}
	if found == nil {
		return nil, fmt.Errorf("it holds no %s of %s", v1.FluxInstanceKind, v1.GroupVersion)
	}
	return found, nil
}
