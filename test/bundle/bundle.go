// Package bundle judges what the Operator Lifecycle Manager installs the operator from: the bundle, by the rules of the catalogs that take it, and
// the catalog, by whether every version in it reaches the newest.
package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Bundle is a bundle that was read.
type Bundle struct {
	// CSV is its ClusterServiceVersion.
	CSV CSV
	// CRDs are the definitions in it, in the order of their files.
	CRDs []apiextensionsv1.CustomResourceDefinition
	// Others are all other manifests.
	Others []unstructured.Unstructured
	// Annotations are those of metadata/annotations.yaml, which the image of the bundle carries as labels.
	Annotations map[string]string
	// Sizes are the sizes of all files in bytes, by path.
	Sizes map[string]int
	// Untidy are the files in which a line ends in a blank, or the last one without an end, in the order of their paths.
	Untidy []string
}

// CSV is what is judged of a ClusterServiceVersion.
type CSV struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec CSVSpec `json:"spec"`
}

// CSVSpec describes an operator.
type CSVSpec struct {
	DisplayName    string         `json:"displayName"`
	Description    string         `json:"description"`
	Version        string         `json:"version"`
	Replaces       string         `json:"replaces"`
	MinKubeVersion string         `json:"minKubeVersion"`
	Keywords       []string       `json:"keywords"`
	Provider       Link           `json:"provider"`
	Links          []Link         `json:"links"`
	Maintainers    []Maintainer   `json:"maintainers"`
	Icon           []Icon         `json:"icon"`
	InstallModes   []InstallMode  `json:"installModes"`
	RelatedImages  []RelatedImage `json:"relatedImages"`
	Webhooks       []any          `json:"webhookdefinitions"`
	Kinds          struct {
		Owned []OwnedKind `json:"owned"`
	} `json:"customresourcedefinitions"`
	Install struct {
		Spec Install `json:"spec"`
	} `json:"install"`
}

// Link is a name and where it leads.
type Link struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Maintainer is somebody to write to.
type Maintainer struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// Icon is a picture.
type Icon struct {
	Data      []byte `json:"base64data"`
	MediaType string `json:"mediatype"`
}

// InstallMode tells whether the operator can serve namespaces chosen in this way.
type InstallMode struct {
	Type      string `json:"type"`
	Supported bool   `json:"supported"`
}

// RelatedImage is an image that is the operator, or that it runs.
type RelatedImage struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// OwnedKind describes a kind to the console.
type OwnedKind struct {
	Name              string       `json:"name"`
	Kind              string       `json:"kind"`
	Version           string       `json:"version"`
	DisplayName       string       `json:"displayName"`
	Description       string       `json:"description"`
	Resources         []any        `json:"resources"`
	SpecDescriptors   []Descriptor `json:"specDescriptors"`
	StatusDescriptors []Descriptor `json:"statusDescriptors"`
}

// Descriptor describes a field to the console.
type Descriptor struct {
	Path        string `json:"path"`
	DisplayName string `json:"displayName"`
	Description string `json:"description"`
}

// Install is what is installed, and with which rights.
type Install struct {
	Deployments        []Deployment  `json:"deployments"`
	Permissions        []Permissions `json:"permissions"`
	ClusterPermissions []Permissions `json:"clusterPermissions"`
}

// Deployment is a Deployment of the operator.
type Deployment struct {
	Name string                `json:"name"`
	Spec appsv1.DeploymentSpec `json:"spec"`
}

// Permissions are the rights of a service account.
type Permissions struct {
	ServiceAccountName string              `json:"serviceAccountName"`
	Rules              []rbacv1.PolicyRule `json:"rules"`
}

// blankAtEnd finds what the linter of the community catalogs refuses in a file.
var blankAtEnd = regexp.MustCompile(`(?m)[ \t]$|[^\n]\z`)

// Load reads the bundle in a folder. It refuses one without a ClusterServiceVersion, and one with two.
func Load(dir string) (*Bundle, error) {
	b := &Bundle{Sizes: map[string]int{}}
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		b.Sizes[name] = len(content)
		if blankAtEnd.Match(content) {
			b.Untidy = append(b.Untidy, name)
		}
		if path.Dir(name) == "manifests" {
			return b.add(name, content)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the bundle %q: %w", dir, err)
	}
	if b.CSV.Name == "" {
		return nil, fmt.Errorf("reading the bundle %q: it has no ClusterServiceVersion", dir)
	}
	var metadata struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := readYAML(tree, "metadata/annotations.yaml", &metadata); err != nil {
		return nil, fmt.Errorf("reading the bundle %q: %w", dir, err)
	}
	b.Annotations = metadata.Annotations
	return b, nil
}

// add reads one manifest.
func (b *Bundle) add(name string, content []byte) error {
	var object unstructured.Unstructured
	if err := yaml.Unmarshal(content, &object.Object); err != nil {
		return fmt.Errorf("parsing %q: %w", name, err)
	}
	switch object.GetKind() {
	case "ClusterServiceVersion":
		if b.CSV.Name != "" {
			return fmt.Errorf("parsing %q: there is another ClusterServiceVersion", name)
		}
		return parse(name, content, &b.CSV)
	case "CustomResourceDefinition":
		var definition apiextensionsv1.CustomResourceDefinition
		if err := parse(name, content, &definition); err != nil {
			return err
		}
		b.CRDs = append(b.CRDs, definition)
		return nil
	case "":
		return errors.New("parsing \"" + name + "\": it has no kind")
	default:
		b.Others = append(b.Others, object)
		return nil
	}
}

// Version is the version of the operator, without a leading v.
func (b *Bundle) Version() string { return b.CSV.Spec.Version }

// Rules are all rights of the operator: those in the whole cluster, then those of its role.
func (b *Bundle) Rules() ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	for _, permissions := range b.CSV.Spec.Install.Spec.ClusterPermissions {
		rules = append(rules, permissions.Rules...)
	}
	role, err := b.Role()
	if err != nil {
		return nil, err
	}
	return append(rules, role.Rules...), nil
}

// Role is the operator's role in its own namespace.
func (b *Bundle) Role() (rbacv1.Role, error) {
	var role rbacv1.Role
	for _, object := range b.Others {
		if object.GetKind() == "Role" {
			return role, convert(object.Object, &role)
		}
	}
	return role, errors.New("reading the rights of the operator: the bundle has no Role")
}

// convert turns a decoded object into its Go type.
func convert(object, into any) error {
	content, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Errorf("converting an object: %w", err)
	}
	return parse("object", content, into)
}

func readYAML(tree fs.FS, name string, into any) error {
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	return parse(name, content, into)
}

func parse(name string, content []byte, into any) error {
	if err := yaml.Unmarshal(content, into); err != nil {
		return fmt.Errorf("parsing %q: %w", strings.TrimPrefix(name, "./"), err)
	}
	return nil
}
