package render

import (
	"fmt"
	"slices"

	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// applyPatches applies the user's patches as kustomize does, one after the other and each to the objects it selects only.
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
			name := describe(o.Unstructured)
			if err := d.changeObject(o, change); err != nil {
				return &FieldError{Field: field, Problem: fmt.Sprintf("it does not fit %s, which its target (%s) matches", name, change.target()),
					Err: err, Cure: "mend the patch"}
			}
		}
	}
	if err := d.checkUnique(); err != nil {
		return &FieldError{Field: field, Problem: "it makes two objects one", Err: err, Cure: "do not change names in patches"}
	}
	return nil
}

// selectObjects finds what a change is for. Objects answer to the name and the namespace they have in the release, and to their final ones.
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
			(pattern.MatchNamespace(o.GetNamespace()) || o.GetNamespace() != "" && pattern.MatchNamespace(homeNamespace)) &&
			(pattern.MatchName(o.releaseName) || pattern.MatchName(o.GetName())) &&
			labelSelector.Matches(labels.Set(o.GetLabels())) &&
			annotationSelector.Matches(labels.Set(o.GetAnnotations())) {
			selected = append(selected, o)
		}
	}
	hasFinalName := func(o *object) bool { return pattern.MatchName(o.GetName()) }
	if c.one && slices.ContainsFunc(selected, hasFinalName) {
		selected = slices.DeleteFunc(selected, func(o *object) bool { return !hasFinalName(o) })
	}
	return selected, nil
}

// changeObject runs one change on one object; an object that the patch deletes leaves the set.
func (d *draft) changeObject(o *object, c change) (err error) {
	// The libraries are somebody else's and the patch is a user's: a panic there must stay that user's problem.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kustomize gave up: %v", p)
		}
	}()
	text, err := c.apply(o.Unstructured)
	if err != nil {
		return err
	}
	if text == nil {
		d.objects = slices.DeleteFunc(d.objects, func(other *object) bool { return other == o })
		return nil
	}
	if err := d.resize(o, len(text)); err != nil {
		return err
	}
	result := &unstructured.Unstructured{}
	if err := result.UnmarshalJSON(text); err != nil {
		return err
	}
	if err := checkShape(result); err != nil {
		return err
	}
	o.Unstructured = result
	if o.component != "" && o.runs(o.component) {
		_, err = o.readImage()
	}
	return err
}
