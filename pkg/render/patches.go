package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/filters/patchjson6902"
	"sigs.k8s.io/kustomize/api/filters/patchstrategicmerge"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/resid"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// applyPatches lets kustomize's own filters apply the user's patches, one after the other and each to the objects it selects only.
//
// A patch that selects nothing is an error: whoever wrote it meant something by it. That is also why no whole kustomization is
// built: it would pass over such a patch in silence, and would have to read all definitions to change none of them.
func (d *draft) applyPatches() error {
	if d.instance.Spec.Kustomize == nil {
		return nil
	}
	for i, patch := range d.instance.Spec.Kustomize.Patches {
		if err := d.applyPatch(fmt.Sprintf("spec.kustomize.patches[%d]", i), patch); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) applyPatch(field string, patch kustomize.Patch) error {
	changes, err := readPatch(patch)
	if err != nil {
		return &FieldError{Field: field, Problem: "it cannot be read", Err: err,
			Cure: "write a strategic merge patch, or a list of JSON patch operations with a target"}
	}
	for _, change := range changes {
		selected, err := d.selectObjects(change)
		if err != nil {
			return &FieldError{Field: field + ".target", Problem: "it cannot be read", Err: err, Cure: "mend the expression"}
		}
		if len(selected) == 0 {
			return &FieldError{Field: field, Problem: fmt.Sprintf("its target (%s) matches no object of Flux %s with these components", change.target(), d.name),
				Cure: "mend the target or remove the patch"}
		}
		for _, o := range selected {
			if err := d.changeObject(o, change); err != nil {
				return &FieldError{Field: field, Problem: "it does not fit " + describe(o.Unstructured), Err: err, Cure: "mend the patch"}
			}
		}
	}
	if err := d.checkUnique(); err != nil {
		return &FieldError{Field: field, Problem: "it makes two objects one", Err: err, Cure: "do not change names in patches"}
	}
	return nil
}

// change is one thing a patch does: what to select and the filter to run on it.
type change struct {
	selector types.Selector
	filter   func() kio.Filter
}

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
		if patch.Target == nil {
			return nil, errors.New("a list of operations needs a target")
		}
		filter := patchjson6902.Filter{Patch: strings.TrimSpace(patch.Patch)}
		return []change{{selector: selectorOf(patch.Target), filter: func() kio.Filter { return filter }}}, nil
	}
	if patch.Target != nil && len(documents) > 1 {
		return nil, errors.New("with a target it can hold one document only")
	}
	var changes []change
	for _, document := range documents {
		if document.YNode().Kind != kyaml.MappingNode {
			return nil, errors.New("a document is neither an object nor a list of operations")
		}
		c := change{filter: func() kio.Filter { return patchstrategicmerge.Filter{Patch: document.Copy()} }}
		if patch.Target != nil {
			c.selector = selectorOf(patch.Target)
		} else if c.selector, err = selectorFrom(document); err != nil {
			return nil, err
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
		if document := kyaml.NewRNode(&node); !document.IsNilOrEmpty() {
			documents = append(documents, document)
		}
	}
	if len(documents) == 0 {
		return nil, errors.New("it is empty")
	}
	return documents, nil
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

// selectObjects finds what a change is for. Objects answer to the name they have in the release and to their final one.
func (d *draft) selectObjects(c change) ([]*object, error) {
	pattern, err := types.NewSelectorRegex(&c.selector)
	if err != nil {
		return nil, err
	}
	labelSelector, err := labels.Parse(c.selector.LabelSelector)
	if err != nil {
		return nil, err
	}
	annotationSelector, err := labels.Parse(c.selector.AnnotationSelector)
	if err != nil {
		return nil, err
	}
	var selected []*object
	for _, o := range d.objects {
		gvk := o.GroupVersionKind()
		if pattern.MatchGvk(resid.Gvk{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}) &&
			pattern.MatchNamespace(o.GetNamespace()) &&
			(pattern.MatchName(o.releaseName) || pattern.MatchName(o.GetName())) &&
			labelSelector.Matches(labels.Set(o.GetLabels())) &&
			annotationSelector.Matches(labels.Set(o.GetAnnotations())) {
			selected = append(selected, o)
		}
	}
	return selected, nil
}

// changeObject runs the filter on one object; an object that the patch deletes leaves the set.
func (d *draft) changeObject(o *object, c change) (err error) {
	// The filters are somebody else's and the patch is a user's: a panic there must stay that user's problem.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kustomize gave up: %v", p)
		}
	}()
	node, err := kyaml.FromMap(o.Object)
	if err != nil {
		return err
	}
	results, err := c.filter().Filter([]*kyaml.RNode{node})
	if err != nil {
		return err
	}
	if len(results) == 0 || results[0].IsNilOrEmpty() {
		d.remove(o)
		return nil
	}
	changed, err := results[0].MarshalJSON()
	if err != nil {
		return err
	}
	result := &unstructured.Unstructured{}
	if err := result.UnmarshalJSON(changed); err != nil {
		return err
	}
	restoreIdentity(result, o, c)
	if err := checkShape(result); err != nil {
		return err
	}
	o.Unstructured = result
	return nil
}

// restoreIdentity undoes that a strategic merge patch renames what it is applied to; its own name need not be the target's.
func restoreIdentity(result *unstructured.Unstructured, o *object, c change) {
	if _, isMerge := c.filter().(patchstrategicmerge.Filter); !isMerge {
		return
	}
	result.SetAPIVersion(o.GetAPIVersion())
	result.SetKind(o.GetKind())
	result.SetName(o.GetName())
	result.SetNamespace(o.GetNamespace())
}

func (d *draft) remove(gone *object) {
	kept := d.objects[:0:0]
	for _, o := range d.objects {
		if o != gone {
			kept = append(kept, o)
		}
	}
	d.objects = kept
}
