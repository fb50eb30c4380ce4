package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// edits are made in turn, each kind as often as the others.
	edits       = 15
	repairLimit = 30 * time.Second
)

// benchDrift measures how soon edits of managed objects are put back.
func (b *bench) benchDrift(ctx context.Context) (Part, error) {
	var took, asked sample
	var last requests
	err := b.settled(ctx, instance(b.distribution.release), func(ctx context.Context, _ *operator) error {
		kinds := vandalism()
		for i := range edits {
			began := time.Now()
			one, err := b.cluster.vandalize(ctx, kinds[i%len(kinds)])
			if err != nil {
				return err
			}
			if last, err = b.cluster.audit.settle(ctx, operatorUser, began); err != nil {
				return err
			}
			took, asked = append(took, inMS(one)), append(asked, float64(len(last)))
		}
		return nil
	})
	if err != nil {
		return Part{}, err
	}
	var names []string
	for _, edit := range vandalism() {
		names = append(names, edit.name)
	}
	return Part{
		Title: "Drift",
		Method: fmt.Sprintf("%d edits in turn: %s. The time runs from the answer to the edit until a watch shows the object as it was, or a new one in place of a deleted one.",
			edits, join(names)),
		Figures: []Figure{
			measured("until it is put back, half of the edits", milliseconds, sample{took.median()}).besides("at the interval, 60 minutes"),
			measured("until it is put back, 95 % of the edits", milliseconds, sample{took.quantile(0.95)}),
			measured("requests for each", count, asked),
		},
		Notes: []string{"Requests of the last one: " + last.summary() + "."},
	}, nil
}

// edit is something that somebody does to a managed object.
type edit struct {
	name, apiVersion, kind, object string
	// path leads to a field that is given the value; a nil path deletes the object.
	path  []string
	value any
}

func vandalism() []edit {
	return []edit{
		{"a controller's service account is replaced", "apps/v1", "Deployment", "helm-controller", []string{"spec", "template", "spec", "serviceAccountName"}, "default"},
		{"a Service is deleted", "v1", "Service", "source-controller", nil, nil},
		{"a network policy is opened", "networking.k8s.io/v1", "NetworkPolicy", "allow-webhooks", []string{"spec", "podSelector", "matchLabels"}, map[string]any{"nobody": "here"}},
		{"a Deployment is deleted", "apps/v1", "Deployment", "notification-controller", nil, nil},
		{"a ClusterRoleBinding loses its subjects", "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "cluster-reconciler-flux-system", []string{"subjects"}, []any{}},
	}
}

// vandalize does it and returns how long it lasts.
func (c *cluster) vandalize(ctx context.Context, e edit) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, repairLimit)
	defer cancel()
	live := &unstructured.Unstructured{}
	live.SetAPIVersion(e.apiVersion)
	live.SetKind(e.kind)
	live.SetName(e.object)
	if e.kind != "ClusterRoleBinding" {
		live.SetNamespace(v1.DefaultNamespace)
	}
	if err := c.admin.Get(ctx, client.ObjectKeyFromObject(live), live); err != nil {
		return 0, fmt.Errorf("reading what is to be edited: %w", err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(e.apiVersion)
	list.SetKind(e.kind + "List")
	events, err := c.admin.Watch(ctx, list, client.InNamespace(live.GetNamespace()), client.MatchingFields{"metadata.name": e.object},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: live.GetResourceVersion()}})
	if err != nil {
		return 0, fmt.Errorf("watching what is to be edited: %w", err)
	}
	defer events.Stop()
	edited := live.DeepCopy()
	if err := e.do(ctx, c.admin, edited); err != nil {
		return 0, fmt.Errorf("editing %s %q: %w", e.kind, e.object, err)
	}
	began := time.Now()
	err = await(ctx, fmt.Sprintf("the repair of %s %q", e.kind, e.object), events, func(kind watch.EventType, obj runtime.Object) bool {
		now, ok := obj.(*unstructured.Unstructured)
		return ok && kind != watch.Deleted && now.GetResourceVersion() != edited.GetResourceVersion() && e.undone(live, now)
	})
	return time.Since(began), err
}

// do edits or deletes the object.
func (e edit) do(ctx context.Context, c client.Client, obj *unstructured.Unstructured) error {
	if e.path == nil {
		return c.Delete(ctx, obj)
	}
	base := obj.DeepCopy()
	if err := unstructured.SetNestedField(obj.Object, e.value, e.path...); err != nil {
		return err
	}
	return c.Patch(ctx, obj, client.MergeFrom(base))
}

// undone tells whether the object is as it was before the edit.
func (e edit) undone(before, now *unstructured.Unstructured) bool {
	if e.path == nil {
		return now.GetUID() != before.GetUID()
	}
	was, _, _ := unstructured.NestedFieldNoCopy(before.Object, e.path...)
	is, _, _ := unstructured.NestedFieldNoCopy(now.Object, e.path...)
	return fmt.Sprint(was) == fmt.Sprint(is)
}

// join writes a list as a sentence does.
func join(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + ", and " + names[last]
}
