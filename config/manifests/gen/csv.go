package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// csv is a ClusterServiceVersion and the file it is written to.
type csv struct {
	unstructured.Unstructured
	path string
}

func openCSV(path string) (*csv, error) {
	object, err := readYAML(path)
	if err != nil {
		return nil, err
	}
	return &csv{unstructured.Unstructured{Object: object}, path}, nil
}

func (c *csv) save() error {
	return writeYAML(c.path, c.Object)
}

// describe sets the annotations that are computed, the icon and the time, which is the release's and not that of the run.
func (c *csv) describe(a additions, image string) error {
	examples, err := json.MarshalIndent(a.examples, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the examples: %w", err)
	}
	instance, err := json.Marshal(a.examples[0])
	if err != nil {
		return fmt.Errorf("writing the first example: %w", err)
	}
	annotations := c.GetAnnotations()
	annotations["alm-examples"] = string(examples)
	annotations["operatorframework.io/initialization-resource"] = string(instance)
	annotations["containerImage"] = image
	annotations["createdAt"] = a.created
	if !strings.Contains(image, "@") {
		annotations["features.operators.openshift.io/disconnected"] = "false" // an image without a digest cannot be mirrored
	}
	c.SetAnnotations(annotations)
	c.SetLabels(map[string]string{
		"operatorframework.io/os.linux": "supported", "operatorframework.io/arch.amd64": "supported", "operatorframework.io/arch.arm64": "supported",
	})
	return c.set([]any{map[string]any{
		"base64data": base64.StdEncoding.EncodeToString(a.icon), "mediatype": "image/svg+xml",
	}}, "spec", "icon")
}

// setImages lists the images, so that a catalog can be mirrored with them, and tells the operator where they are.
func (c *csv) setImages(images []relatedImage) error {
	deployment, err := c.only("spec", "install", "spec", "deployments")
	if err != nil {
		return err
	}
	pod := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(deployment, pod...)
	if err != nil || len(containers) != 1 {
		return fmt.Errorf("reading the containers of the operator: want one, got %d (%w)", len(containers), err)
	}
	container, isObject := containers[0].(map[string]any)
	if !isObject {
		return fmt.Errorf("reading the container of the operator: it is no object")
	}
	container["image"] = images[0].image
	environment, _, err := unstructured.NestedSlice(container, "env")
	if err != nil {
		return fmt.Errorf("reading the environment of the operator: %w", err)
	}
	related := make([]any, 0, len(images))
	for i, image := range images {
		related = append(related, map[string]any{"name": image.name, "image": image.image})
		if i > 0 {
			environment = append(environment, map[string]any{"name": image.variable(), "value": image.image})
		}
	}
	container["env"] = environment
	if err := unstructured.SetNestedSlice(deployment, containers, pod...); err != nil {
		return fmt.Errorf("setting the container of the operator: %w", err)
	}
	if err := c.set([]any{deployment}, "spec", "install", "spec", "deployments"); err != nil {
		return err
	}
	return c.set(related, "spec", "relatedImages")
}

// setRelease says what the version replaces.
func (c *csv) setRelease(r release) error {
	if r.SkipRange != "" {
		annotations := c.GetAnnotations()
		annotations["olm.skipRange"] = r.SkipRange
		c.SetAnnotations(annotations)
	}
	if r.Replaces == "" {
		return nil
	}
	return c.set(r.Replaces, "spec", "replaces")
}

// confine writes the permissions within the operator's namespace as a role of the bundle. As part of the ClusterServiceVersion, an installation for
// all namespaces would make them rights in all namespaces: the operator could read every Secret of the cluster.
func (c *csv) confine(dir string) error {
	entry, err := c.only("spec", "install", "spec", "permissions")
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("reading the permissions of the operator: %w", err)
	}
	var permissions struct {
		ServiceAccountName string              `json:"serviceAccountName"`
		Rules              []rbacv1.PolicyRule `json:"rules"`
	}
	if err := json.Unmarshal(encoded, &permissions); err != nil {
		return fmt.Errorf("reading the permissions of the operator: %w", err)
	}
	role := rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
		ObjectMeta: metav1.ObjectMeta{Name: packageName},
		Rules:      permissions.Rules,
	}
	binding := rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: packageName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: packageName},
		// Without a namespace it is the account in the namespace of the binding, which is the one the operator is installed into.
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: permissions.ServiceAccountName}},
	}
	if err := writeYAML(filepath.Join(dir, packageName+"_rbac.authorization.k8s.io_v1_role.yaml"), role); err != nil {
		return err
	}
	if err := writeYAML(filepath.Join(dir, packageName+"_rbac.authorization.k8s.io_v1_rolebinding.yaml"), binding); err != nil {
		return err
	}
	unstructured.RemoveNestedField(c.Object, "spec", "install", "spec", "permissions")
	return nil
}

// only returns the single object of a list.
func (c *csv) only(path ...string) (map[string]any, error) {
	list, _, err := unstructured.NestedSlice(c.Object, path...)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("reading %q: want one entry, got %d", path, len(list))
	}
	object, isObject := list[0].(map[string]any)
	if !isObject {
		return nil, fmt.Errorf("reading %q: the entry is no object", path)
	}
	return object, nil
}

func (c *csv) set(value any, path ...string) error {
	if err := unstructured.SetNestedField(c.Object, value, path...); err != nil {
		return fmt.Errorf("setting %q: %w", path, err)
	}
	return nil
}

func readYAML(path string) (map[string]any, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a manifest: %w", err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(content, &object); err != nil {
		return nil, fmt.Errorf("parsing %q: %w", path, err)
	}
	return object, nil
}

func writeYAML(path string, object any) error {
	content, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("writing a manifest: %w", err)
	}
	return nil
}
