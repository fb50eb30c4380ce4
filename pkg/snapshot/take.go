package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// pageSize is how many objects are listed with one request, and held at a time.
	pageSize = 200
	// patience is how often the API server may refuse to continue a list, which it does after some minutes.
	patience = 10
)

// Request says what is to be saved.
type Request struct {
	// Header is written as it is, but for its format.
	Header Header
	// Namespace is that of the FluxInstance.
	Namespace string
	// Definitions are the names of the definitions whose objects are saved besides those of the operator's own kinds; nil for all in Flux's groups.
	// Others in these groups, which somebody else has brought, are left out.
	Definitions []string
	// Progress, which may be nil, is told after each page how many objects have been saved.
	Progress func(objects int)
}

// Take writes a snapshot of the FluxInstance of a namespace and of every object of every other kind of Flux in the cluster, or of those that the
// request names.
//
// The reader must read from the API server and not from a cache. No more than a page of objects is held in memory. Objects that are being deleted
// are left out. Secrets are never read.
func Take(ctx context.Context, from client.Reader, out io.Writer, request Request) (Summary, error) {
	summary, err := take(ctx, from, out, request)
	if err != nil {
		return Summary{}, fmt.Errorf("taking a snapshot: %w", err)
	}
	return summary, nil
}

func take(ctx context.Context, from client.Reader, out io.Writer, request Request) (Summary, error) {
	names, err := definitionNames(ctx, from)
	if err != nil {
		return Summary{}, err
	}
	names, leftOut := request.divide(names)
	kinds, err := readKinds(ctx, from, names)
	if err != nil {
		return Summary{}, err
	}
	w, err := newWriter(out, request.Header, defaultLimits())
	if err != nil {
		return Summary{}, err
	}
	t := &taking{from: from, to: w, progress: request.Progress}
	for _, k := range kinds {
		if !k.isServed() {
			continue
		}
		var where []client.ListOption
		if k.Group == v1.Group && k.Kind == v1.FluxInstanceKind {
			where = append(where, client.InNamespace(request.Namespace)) // those elsewhere are never acted upon
		}
		if err := t.kind(ctx, k.in(""), where...); err != nil {
			return Summary{}, fmt.Errorf("listing all %s: %w", k.GroupKind, err)
		}
	}
	w.summary.LeftOut = leftOut
	return w.close()
}

// divide returns which definitions are those whose objects are saved, and which are left out.
func (r Request) divide(names []string) (saved, leftOut []string) {
	if r.Definitions == nil {
		return names, nil
	}
	for _, name := range names {
		if slices.Contains(r.Definitions, name) || strings.HasSuffix(name, "."+v1.Group) {
			saved = append(saved, name)
		} else {
			leftOut = append(leftOut, name)
		}
	}
	return saved, leftOut
}

// taking is the work on one snapshot.
type taking struct {
	from     client.Reader
	to       *writer
	progress func(objects int)
}

// kind saves all objects of a kind, page by page, in the order of their names.
func (t *taking) kind(ctx context.Context, kind schema.GroupVersionKind, where ...client.ListOption) error {
	refused := 0
	for next := ""; ; {
		page := &unstructured.UnstructuredList{}
		page.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := persist(ctx, func() error {
			return t.from.List(ctx, page, append(where, client.Limit(pageSize), client.Continue(next))...)
		})
		if apierrors.IsResourceExpired(err) && refused < patience && continuation(err) != "" {
			// What comes after is of another moment. Nothing is missed or saved twice: the list goes on after the same name.
			refused++
			next = continuation(err)
			continue
		}
		if err != nil {
			return err
		}
		if err := t.page(page); err != nil {
			return err
		}
		if t.progress != nil {
			t.progress(t.to.summary.Objects)
		}
		if next = page.GetContinue(); next == "" {
			return nil
		}
	}
}

// page saves what is not about to go.
func (t *taking) page(page *unstructured.UnstructuredList) error {
	for i := range page.Items {
		if page.Items[i].GetDeletionTimestamp() != nil {
			continue
		}
		if err := t.to.add(content(&page.Items[i])); err != nil {
			return err
		}
	}
	return nil
}

// continuation returns where to go on with a list that took too long, which the API server tells along with its refusal.
func continuation(err error) string {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return ""
	}
	return answer.Status().Continue
}
