package render

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// finish puts the objects in order, sums them up and reads the images from them.
func (d *draft) finish() (*Set, error) {
	images, err := d.readImages()
	if err != nil {
		return nil, &ReleaseError{Release: d.name, Err: err}
	}
	objects := make([]*unstructured.Unstructured, 0, len(d.objects))
	for _, o := range d.objects {
		objects = append(objects, o.Unstructured)
	}
	slices.SortStableFunc(objects, compareObjects)
	digest, err := digestOf(objects)
	if err != nil {
		return nil, &ReleaseError{Release: d.name, Err: err}
	}
	return &Set{
		Objects:       objects,
		Images:        images,
		ReleaseImages: d.releaseImages,
		Revision:      version.Revision{Version: d.name, Digest: digest},
	}, nil
}

// Unpinned names the controllers whose final image has no digest: because the distribution has none on record, or because a patch
// put another image in its place. What runs there can change without the revision changing.
func (s *Set) Unpinned() []string {
	var names []string
	for _, image := range s.Images {
		if image.Digest == "" {
			names = append(names, image.Name)
		}
	}
	return names
}

// digestOf sums up the objects in their order; JSON sorts keys, so equal objects have equal digests.
func digestOf(objects []*unstructured.Unstructured) (string, error) {
	sum := sha256.New()
	encoder := json.NewEncoder(sum)
	for _, o := range objects {
		if err := encoder.Encode(o.Object); err != nil {
			return "", fmt.Errorf("summing up %s: %w", describe(o), err)
		}
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), nil
}

// compareObjects is the order of application: what others need first, what needs the controllers last, then names.
func compareObjects(a, b *unstructured.Unstructured) int {
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)),
		cmp.Compare(a.GetKind(), b.GetKind()),
		cmp.Compare(a.GetNamespace(), b.GetNamespace()),
		cmp.Compare(a.GetName(), b.GetName()),
		cmp.Compare(a.GetAPIVersion(), b.GetAPIVersion()),
	)
}

// The ranks of what is no known kind of Kubernetes itself.
const (
	rankOther = 100 + iota
	rankFluxSource
	rankFluxOther
	rankKustomization
)

func rank(o *unstructured.Unstructured) int {
	group := o.GroupVersionKind().Group
	switch {
	case group == sourceGroup:
		return rankFluxSource
	case group == kustomizeGroup:
		return rankKustomization
	case strings.HasSuffix(group, ".fluxcd.io"):
		return rankFluxOther
	}
	known := slices.Index([]string{
		"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "ResourceQuota", "ServiceAccount",
		"Role", "RoleBinding", "ConfigMap", "Secret", "Service", "PersistentVolumeClaim", "Deployment", "NetworkPolicy",
	}, o.GetKind())
	if known < 0 {
		return rankOther
	}
	return known
}

// YAML returns the objects as one stream of documents, in the order to apply them in.
func (s *Set) YAML() ([]byte, error) {
	var stream bytes.Buffer
	for _, o := range s.Objects {
		document, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", describe(o), err)
		}
		stream.WriteString("---\n")
		stream.Write(document)
	}
	return stream.Bytes(), nil
}
