package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// MaxListed is how many objects, tools and definitions each list of a survey names. One that is as long may leave some out.
	MaxListed = 30
	// versionLabel holds the release on everything that Flux or its chart installs.
	versionLabel = "app.kubernetes.io/version"
)

// Found is what a cluster has of what is wanted.
type Found struct {
	// Wanted are the objects of the release that is to be installed.
	Wanted []*unstructured.Unstructured
	// Live are those of them that exist, as Existing returns them.
	Live []*unstructured.Unstructured
	// Definitions are the live definitions, as Live returns them.
	Definitions []Definition
	// Managers are the names of field managers that are taken over from besides the known ones.
	Managers []string
}

// Survey says what taking over an installation of Flux means: who managed it, what the collision rule of the instance refuses, which settings
// would be lost, and which definitions may have objects stored in old versions. It names no values but arguments of containers. Everything in it
// is sorted, and the lists are as long as the API says at most. When it was made and whether the objects were taken is for the caller to say.
func Survey(instance *v1.FluxInstance, found Found) *v1.AdoptionStatus {
	survey := &v1.AdoptionStatus{Objects: int32(min(len(found.Live), 1<<20)), Version: versionOf(found.Live)}
	tools := map[former]int32{}
	losses := lossFinder{managers: found.Managers}
	wanted := byName(found.Wanted)
	for _, live := range found.Live {
		was := formerOf(live, instance)
		tools[was]++
		if !was.mayBeTaken(live, instance) {
			survey.Refused = append(survey.Refused, nameOf(live))
		}
		if want := wanted[nameOf(live)]; want != nil {
			survey.Losses = append(survey.Losses, losses.find(want, live)...)
		}
	}
	survey.Tools = toolsOf(tools)
	survey.StoredVersions = storedElsewhere(found)
	slices.Sort(survey.Refused)
	survey.Refused = survey.Refused[:min(len(survey.Refused), MaxListed)]
	slices.SortFunc(survey.Losses, func(a, b v1.AdoptionLoss) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Manager, b.Manager))
	})
	survey.Losses = survey.Losses[:min(len(survey.Losses), MaxListed)]
	return survey
}

// byName indexes objects by how a survey names them. Two kinds of one name in different groups are not among the objects of Flux.
func byName(objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	index := make(map[string]*unstructured.Unstructured, len(objects))
	for _, obj := range objects {
		index[nameOf(obj)] = obj
	}
	return index
}

// nameOf returns kind/namespace/name, or kind/name.
func nameOf(obj *unstructured.Unstructured) string {
	if obj.GetNamespace() == "" {
		return obj.GetKind() + "/" + obj.GetName()
	}
	return obj.GetKind() + "/" + obj.GetNamespace() + "/" + obj.GetName()
}

// versionOf returns the release that most of the objects say they belong to, empty if they do not tell.
func versionOf(live []*unstructured.Unstructured) string {
	labels := make([]string, 0, len(live))
	for _, obj := range live {
		labels = append(labels, obj.GetLabels()[versionLabel])
	}
	return mostVoted(labels)
}

// Installed returns the release that most of the definitions say they came with, empty if they do not tell.
func Installed(live []Definition) string {
	labels := make([]string, 0, len(live))
	for _, definition := range live {
		labels = append(labels, definition.release)
	}
	return mostVoted(labels)
}

// mostVoted returns the release that is named most often, with a v in front.
func mostVoted(releases []string) string {
	votes := map[string]int{}
	for _, text := range releases {
		if text != "" {
			votes["v"+strings.TrimPrefix(text, "v")]++
		}
	}
	best := ""
	for _, text := range slices.Sorted(maps.Keys(votes)) {
		if votes[text] > votes[best] {
			best = text
		}
	}
	return best
}

// toolsOf lists tools, the one with the most objects first.
func toolsOf(counts map[former]int32) []v1.AdoptedTool {
	tools := make([]v1.AdoptedTool, 0, len(counts))
	for was, count := range counts {
		tools = append(tools, v1.AdoptedTool{Name: was.name, Objects: count, Advice: was.advice})
	}
	slices.SortFunc(tools, func(a, b v1.AdoptedTool) int {
		return cmp.Or(cmp.Compare(b.Objects, a.Objects), cmp.Compare(a.Name, b.Name))
	})
	return tools[:min(len(tools), MaxListed)]
}

// storedElsewhere returns the definitions whose objects may be stored in another version than the wanted one.
func storedElsewhere(found Found) []v1.StoredVersions {
	wanted, err := Definitions(found.Wanted)
	if err != nil {
		return nil // rendered definitions are well-formed; applying them would tell
	}
	var stored []v1.StoredVersions
	for _, want := range wanted {
		i := slices.IndexFunc(found.Definitions, func(d Definition) bool { return d.Name == want.Name })
		if i < 0 || slices.Equal(found.Definitions[i].Stored, []string{want.storage()}) {
			continue
		}
		stored = append(stored, v1.StoredVersions{Definition: want.Name, Versions: found.Definitions[i].Stored})
	}
	slices.SortFunc(stored, func(a, b v1.StoredVersions) int { return cmp.Compare(a.Definition, b.Definition) })
	return stored[:min(len(stored), MaxListed)]
}

// Existing returns those of the objects that are in the cluster, in their order and as a survey needs them: with managed fields, and of
// CustomResourceDefinitions nothing but the metadata. A custom resource that is not served in the wanted API version is read in another one.
// It makes a request for each object. The error joins one for each object that could not be read.
func (m *Migrator) Existing(ctx context.Context, wanted []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	live := make([]*unstructured.Unstructured, len(wanted))
	failures := make([]error, len(wanted))
	free := make(chan struct{}, m.concurrency)
	var running sync.WaitGroup
	for i, want := range wanted {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			if live[i], failures[i] = m.existing(ctx, want); failures[i] != nil {
				failures[i] = fmt.Errorf("reading %s: %w", nameOf(want), failures[i])
			}
		})
	}
	running.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("looking for %d objects: %w", len(wanted), context.Cause(ctx))
	}
	missing := func(obj *unstructured.Unstructured) bool { return obj == nil }
	return slices.DeleteFunc(live, missing), errors.Join(failures...)
}

// existing reads one object, nil if there is none.
func (m *Migrator) existing(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	gvk := want.GroupVersionKind()
	live, err := m.readAs(ctx, want, gvk)
	if apimeta.IsNoMatchError(err) {
		mapping, mapErr := m.client.RESTMapper().RESTMapping(gvk.GroupKind())
		if apimeta.IsNoMatchError(mapErr) {
			return nil, nil //nolint:nilnil // a kind that is not installed has no objects
		}
		if mapErr != nil {
			return nil, mapErr
		}
		live, err = m.readAs(ctx, want, mapping.GroupVersionKind)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // that it is not there is an answer
	}
	return live, err
}

// readAs reads an object in an API version.
func (m *Migrator) readAs(ctx context.Context, want *unstructured.Unstructured, gvk schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	if gvk.GroupKind() == crdKind.GroupKind() {
		meta := &metav1.PartialObjectMetadata{}
		meta.SetGroupVersionKind(gvk)
		err := persist(ctx, func() error { return m.client.Get(ctx, client.ObjectKeyFromObject(want), meta) })
		if err != nil {
			return nil, err
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(meta)
		return &unstructured.Unstructured{Object: content}, err
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(gvk)
	err := persist(ctx, func() error { return m.client.Get(ctx, client.ObjectKeyFromObject(want), live) })
	return live, err
}
