package render

import (
	"errors"
	"fmt"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	defaultShardingKey = "sharding.fluxcd.io/key"
	shardRole          = "sharding.fluxcd.io/role"
	shardsEphemeral    = "ephemeral"
	shardsPersistent   = "persistent"
	selectorFlag       = "watch-label-selector"
)

func shardingKey(sharding *v1.Sharding) string {
	if sharding.Key == "" {
		return defaultShardingKey
	}
	return sharding.Key
}

// addShards adds for each shard a further set of the controllers that work on sources and appliers, and keeps the main set off
// the objects that are labelled for a shard.
func (d *draft) addShards() error {
	sharding := d.instance.Spec.Sharding
	if sharding == nil {
		return nil
	}
	sharded := d.of(d.shardable()...)
	if len(sharded) == 0 {
		return &FieldError{Field: "spec.sharding", Problem: "none of the components can be sharded",
			Cure: "add one of " + join(d.shardable()) + " to spec.components or remove spec.sharding"}
	}
	key := shardingKey(sharding)
	for _, w := range sharded {
		if err := d.measure(w.object); err != nil {
			return d.broken(w.file, err)
		}
		for _, shard := range sharding.Shards {
			if err := d.addShard(w, shard, key); err != nil {
				return d.broken(w.file, err)
			}
		}
	}
	for _, w := range sharded {
		w.setArg(selectorFlag, "!"+key)
	}
	return nil
}

// shardable are the controllers that can leave objects to another instance of themselves.
func (d *draft) shardable() []v1.Component {
	components := []v1.Component{v1.SourceController, v1.KustomizeController, v1.HelmController,
		v1.ImageReflectorController, v1.ImageAutomationController}
	if d.atLeast(2, 9) {
		components = append(components, v1.SourceWatcher)
	}
	return components
}

// addShard copies a controller, and the service in front of it where it serves artifacts, for one shard.
func (d *draft) addShard(main *workload, shard, key string) error {
	deployment, err := d.copyForShard(main.object, shard)
	if err != nil {
		return err
	}
	w, err := openWorkload(deployment)
	if err != nil {
		return err
	}
	app := string(main.component) + "-" + shard
	for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "template", "metadata", "labels"}} {
		if err := setApp(deployment, app, path...); err != nil {
			return err
		}
	}
	if err := w.setPodMetadata("annotations", shardRole, "shard"); err != nil {
		return err
	}
	w.setArg(selectorFlag, key+"="+shard)
	d.workloads = append(d.workloads, w)
	if !storesArtifacts(main.component) {
		return nil
	}
	w.setArg("storage-adv-addr", d.storageAddress(app))
	service, err := d.find("", "Service", string(main.component))
	if err != nil {
		return err
	}
	if err := d.measure(service); err != nil {
		return err
	}
	added, err := d.copyForShard(service, shard)
	if err != nil {
		return err
	}
	return setApp(added, app, "spec", "selector")
}

// copyForShard puts a copy of an object under a name of its own into the set; patches find it by the original name too.
func (d *draft) copyForShard(original *object, shard string) (*object, error) {
	added := d.add(original.DeepCopy())
	added.file, added.component, added.shard = original.file, original.component, shard
	added.SetName(original.GetName() + "-" + shard)
	added.releaseName = original.releaseName
	mergeAnnotations(added, map[string]string{shardRole: "shard"})
	return added, d.resize(added, original.bytes)
}

// setApp changes the label by which deployments and services find their pods; it must be there, or the shard would find others'.
func setApp(o *object, app string, path ...string) error {
	labels, err := mapAt(o.Object, path...)
	if err == nil && labels["app"] == nil {
		err = errors.New(`it has no label "app" at ` + dotted(path))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", describe(o.Unstructured), err)
	}
	labels["app"] = app
	return nil
}
