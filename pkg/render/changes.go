package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/kustomize"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/filters/patchstrategicmerge"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/yaml"
)

// Bounds on what a patch may make us do. The API server takes no request that is larger.
const (
	maxOperations  = 1000
	maxObjectBytes = 3 << 20
)

// change is one thing a patch does.
type change struct {
	// selector says to which objects.
	selector types.Selector
	// one says that a single object is meant, by its final name if any has it.
	one bool
	// apply returns the changed object as JSON, nil when it is to be deleted; the object itself stays as it is.
	apply func(*unstructured.Unstructured) ([]byte, error)
}

// target names the selected objects for a reader.
func (c change) target() string {
	s := c.selector
	var parts []string
	for _, part := range [][2]string{{"group", s.Group}, {"version", s.Version}, {"kind", s.Kind}, {"namespace", s.Namespace},
		{"name", s.Name}, {"labels", s.LabelSelector}, {"annotations", s.AnnotationSelector}} {
		if part[1] != "" {
			parts = append(parts, part[0]+" "+part[1])
		}
	}
	return strings.Join(parts, ", ")
}

// readPatch tells the two forms of patches apart: operations are a list, a strategic merge patch is an object.
func readPatch(patch kustomize.Patch) ([]change, error) {
	documents, err := patchDocuments(patch.Patch)
	if err != nil {
		return nil, err
	}
	if len(documents) == 1 && documents[0].YNode().Kind == kyaml.SequenceNode {
		return readOperations(patch)
	}
	if patch.Target != nil && len(documents) > 1 {
		return nil, errors.New("with a target it can hold one document only")
	}
	var changes []change
	for _, document := range documents {
		if document.YNode().Kind != kyaml.MappingNode {
			return nil, errors.New("a document is neither an object nor a list of operations")
		}
		c := change{apply: mergeOf(document)}
		if patch.Target != nil {
			c.selector = selectorOf(patch.Target)
		} else {
			c.one = true
			if c.selector, err = selectorFrom(document); err != nil {
				return nil, err
			}
		}
		changes = append(changes, c)
	}
	return changes, nil
}

func patchDocuments(text string) ([]*kyaml.RNode, error) {
	decoder := kyaml.NewDecoder(bytes.NewBufferString(text))
	var documents []*kyaml.RNode
	for range maxDocuments {
		var node kyaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		left := maxObjectBytes
		if err := checkExpansion(&node, 0, &left); err != nil {
			return nil, err
		}
		document := kyaml.NewRNode(&node)
		if document.IsNilOrEmpty() {
			continue
		}
		if err := document.DeAnchor(); err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	if len(documents) == 0 {
		return nil, errors.New("it is empty")
	}
	return documents, nil
}

// checkExpansion refuses what becomes too large or too deep once each alias is replaced by what it stands for; an alias within its own
// anchor would become endless.
func checkExpansion(node *kyaml.Node, depth int, left *int) error {
	const perNode = 16 // in the text that the node is written as, at the most generous
	if depth > maxDepth {
		return fmt.Errorf("line %d: it is nested more than %d levels deep", node.Line, maxDepth)
	}
	if *left -= len(node.Value) + perNode; *left < 0 {
		return fmt.Errorf("line %d: it becomes larger than %d bytes", node.Line, maxObjectBytes)
	}
	if node.Kind == kyaml.AliasNode {
		return checkExpansion(node.Alias, depth+1, left)
	}
	for _, child := range node.Content {
		if err := checkExpansion(child, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}

// readOperations reads a list of operations. They go to the library that kustomize uses, but as JSON all the way, without
// kustomize's detours over YAML.
func readOperations(patch kustomize.Patch) ([]change, error) {
	if patch.Target == nil {
		return nil, errors.New("a list of operations needs a target")
	}
	text, err := yaml.YAMLToJSON([]byte(patch.Patch))
	if err != nil {
		return nil, err
	}
	operations, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	if len(operations) > maxOperations {
		return nil, fmt.Errorf("it has more than %d operations", maxOperations)
	}
	return []change{{selector: selectorOf(patch.Target), apply: operationsOf(operations)}}, nil
}

// operationsOf runs the operations on an object. It looks at the size after each copy, because one doubles an object at most, but a
// few lines of them would fill the memory.
func operationsOf(operations jsonpatch.Patch) func(*unstructured.Unstructured) ([]byte, error) {
	return func(o *unstructured.Unstructured) ([]byte, error) {
		text, err := o.MarshalJSON()
		if err != nil {
			return nil, err
		}
		for rest := operations; len(rest) > 0; {
			next := 1 + slices.IndexFunc(rest, func(o jsonpatch.Operation) bool { return o.Kind() == "copy" })
			if next == 0 {
				next = len(rest)
			}
			if text, err = rest[:next].Apply(text); err != nil {
				return nil, err
			}
			if err := checkSize(text); err != nil {
				return nil, err
			}
			rest = rest[next:]
		}
		return text, nil
	}
}

func checkSize(text []byte) error {
	if len(text) > maxObjectBytes {
		return fmt.Errorf("it makes the object larger than %d bytes", maxObjectBytes)
	}
	return nil
}

// mergeOf lets kustomize merge a document into an object, which stays the same one: the document's own name need not be that of the
// object.
func mergeOf(document *kyaml.RNode) func(*unstructured.Unstructured) ([]byte, error) {
	return func(o *unstructured.Unstructured) ([]byte, error) {
		node, err := kyaml.FromMap(o.Object)
		if err != nil {
			return nil, err
		}
		merged, err := patchstrategicmerge.Filter{Patch: document.Copy()}.Filter([]*kyaml.RNode{node})
		if err != nil {
			return nil, err
		}
		if len(merged) == 0 || merged[0].IsNilOrEmpty() {
			return nil, nil
		}
		result := merged[0]
		result.SetApiVersion(o.GetAPIVersion())
		result.SetKind(o.GetKind())
		if err := errors.Join(result.SetName(o.GetName()), result.SetNamespace(o.GetNamespace())); err != nil {
			return nil, err
		}
		text, err := result.MarshalJSON()
		if err != nil {
			return nil, err
		}
		return text, checkSize(text)
	}
}

func selectorOf(target *kustomize.Selector) types.Selector {
	return types.Selector{
		ResId: resid.ResId{
			Gvk:       resid.Gvk{Group: target.Group, Version: target.Version, Kind: target.Kind},
			Name:      target.Name,
			Namespace: target.Namespace,
		},
		LabelSelector:      target.LabelSelector,
		AnnotationSelector: target.AnnotationSelector,
	}
}

// selectorFrom reads from a strategic merge patch without a target which one object it means.
func selectorFrom(document *kyaml.RNode) (types.Selector, error) {
	if document.GetKind() == "" || document.GetApiVersion() == "" || document.GetName() == "" {
		return types.Selector{}, errors.New("without a target it needs apiVersion, kind and metadata.name")
	}
	group, version := resid.ParseGroupVersion(document.GetApiVersion())
	return types.Selector{ResId: resid.ResId{
		Gvk:       resid.Gvk{Group: regexp.QuoteMeta(group), Version: regexp.QuoteMeta(version), Kind: regexp.QuoteMeta(document.GetKind())},
		Name:      regexp.QuoteMeta(document.GetName()),
		Namespace: regexp.QuoteMeta(document.GetNamespace()),
	}}, nil
}
