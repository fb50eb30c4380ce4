package report

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Groups of sources.
const (
	sourceGroup      = "source.toolkit.fluxcd.io"
	sourceExtensions = "source.extensions.fluxcd.io"
)

// controllerOf is the controller that reconciles a kind; empty for kinds that no controller of Flux does.
func controllerOf(group, kind string) string {
	switch group {
	case sourceGroup:
		if kind == "ExternalArtifact" {
			return "" // whoever made it does
		}
		return "source-controller"
	case sourceExtensions:
		return "source-watcher"
	case "kustomize.toolkit.fluxcd.io":
		return "kustomize-controller"
	case "helm.toolkit.fluxcd.io":
		return "helm-controller"
	case "image.toolkit.fluxcd.io":
		if kind == "ImageUpdateAutomation" {
			return "image-automation-controller"
		}
		return "image-reflector-controller"
	case "notification.toolkit.fluxcd.io":
		return "notification-controller"
	default:
		return ""
	}
}

// shards are what the controllers of one kind select.
type shards struct {
	key       string
	selectors []labels.Selector
	// names of the shards, sorted.
	names []string
	// open tells that a controller takes objects whatever the label says, or that it cannot be told.
	open bool
}

// shardsOf reads the selectors of all Deployments of a controller: the main one and those of shards.
func shardsOf(controller, label string, components []Component) shards {
	found := shards{key: label}
	for _, component := range components {
		if controller == "" || component.Name != controller && !strings.HasPrefix(component.Name, controller+"-") {
			continue
		}
		found.add(component.Selector)
	}
	slices.Sort(found.names)
	found.names = slices.Compact(found.names)
	return found
}

// add reads one selector.
func (s *shards) add(selector string) {
	parsed, err := labels.Parse(selector)
	if err != nil || parsed.Empty() {
		s.open = true
		return
	}
	requirements, _ := parsed.Requirements()
	for _, r := range requirements {
		if r.Key() != s.key {
			s.open = true // what it selects depends on labels that are not kept
		} else if operator := r.Operator(); operator == selection.Equals || operator == selection.DoubleEquals || operator == selection.In {
			s.names = append(s.names, r.ValuesUnsorted()...)
		}
	}
	s.selectors = append(s.selectors, parsed)
}

// orphans tells whether no controller takes the objects of a shard.
func (s *shards) orphans(shard string) bool {
	if shard == "" || s.open || len(s.selectors) == 0 {
		return false
	}
	assigned := labels.Set{s.key: shard}
	return !slices.ContainsFunc(s.selectors, func(selector labels.Selector) bool { return selector.Matches(assigned) })
}

// sharding counts the objects of each shard.
func (d *draft) sharding() {
	if d.in.Components.Err != nil {
		d.spec.Sharding = d.previous.Sharding
		return
	}
	load := map[string]*v1.FluxShardStatus{}
	found := &v1.FluxShardingStatus{Key: d.snapshot.ShardKey}
	for i := range d.snapshot.Kinds {
		kind := &d.snapshot.Kinds[i]
		known := shardsOf(controllerOf(kind.Group, kind.Kind), d.snapshot.ShardKey, d.in.Components.Value)
		if len(known.names) == 0 && !slices.ContainsFunc(kind.objects, func(object *record) bool { return known.orphans(object.shard.Value()) }) {
			continue
		}
		for _, name := range append(known.names, "") {
			if load[name] == nil {
				load[name] = &v1.FluxShardStatus{Name: name}
			}
		}
		kind.spread(&known, load, found)
	}
	if len(load) == 0 {
		return
	}
	for _, shard := range load {
		found.Shards = append(found.Shards, *shard)
	}
	slices.SortFunc(found.Shards, func(a, b v1.FluxShardStatus) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(found.Orphaned, compareReferences)
	found.Orphaned = slices.Clip(found.Orphaned[:min(len(found.Orphaned), listed)])
	d.spec.Sharding = found
}

// spread adds the objects of a kind to the load of their shards.
func (k *Kind) spread(known *shards, load map[string]*v1.FluxShardStatus, found *v1.FluxShardingStatus) {
	orphaned := map[symbol]bool{}
	for _, object := range k.objects {
		orphan, judged := orphaned[object.shard]
		if !judged {
			orphan = known.orphans(object.shard.Value())
			orphaned[object.shard] = orphan
		}
		if orphan {
			found.Orphans++
			found.Orphaned = append(found.Orphaned, k.reference(object))
			continue
		}
		shard := load[object.shard.Value()]
		if shard == nil {
			shard = load[""] // a controller that takes objects whatever the label says
		}
		shard.Objects++
		if object.failing() {
			shard.Failing++
		}
	}
}
