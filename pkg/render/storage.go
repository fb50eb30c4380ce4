package render

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	persistentVolume = "persistent-data"
	artifactsPath    = "/data"
)

// addStorage keeps artifacts on volumes of their own, so that a restart need not fetch all sources again.
func (d *draft) addStorage() error {
	storage := d.instance.Spec.Storage
	if storage == nil {
		return nil
	}
	stores := d.of(v1.SourceController, v1.SourceWatcher)
	if len(stores) == 0 {
		return &FieldError{Field: "spec.storage", Problem: "none of the components stores artifacts",
			Cure: "add source-controller to spec.components or remove spec.storage"}
	}
	sharding := d.instance.Spec.Sharding
	for _, w := range stores {
		if w.shard != "" && sharding.Storage != shardsPersistent {
			continue
		}
		if err := w.usePersistentVolume(); err != nil {
			return d.broken(w.file, fmt.Errorf("%s: %w", describe(w.Unstructured), err))
		}
		d.add(claim(w.GetName(), d.instance.Namespace, storage))
	}
	return nil
}

// usePersistentVolume puts a claim named like the Deployment in the place of the volume the artifacts are on.
func (w *workload) usePersistentVolume() error {
	mounts, err := mapsAt(w.manager, "volumeMounts")
	if err != nil {
		return err
	}
	at := slices.IndexFunc(mounts, func(mount map[string]any) bool { return mount["mountPath"] == artifactsPath })
	if at < 0 {
		return fmt.Errorf("container %q mounts no volume at %q", managerContainer, artifactsPath)
	}
	volumes, err := mapsAt(w.pod, "volumes")
	if err != nil {
		return err
	}
	old := textAt(mounts[at], "name")
	volume, found := named(volumes, old)
	if !found {
		return fmt.Errorf("it has no volume %q", old)
	}
	clear(volume)
	volume["name"] = persistentVolume
	volume["persistentVolumeClaim"] = map[string]any{"claimName": w.GetName()}
	for _, mount := range mounts {
		if mount["name"] == old {
			mount["name"] = persistentVolume
		}
	}
	return nil
}

func claim(name, namespace string, storage *v1.Storage) *unstructured.Unstructured {
	spec := map[string]any{
		"accessModes": []any{"ReadWriteOnce"},
		"resources":   map[string]any{"requests": map[string]any{"storage": storage.Size}},
	}
	if storage.Class != "" { // an empty one leaves the choice to the cluster
		spec["storageClassName"] = storage.Class
	}
	pvc := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	pvc.SetAPIVersion("v1")
	pvc.SetKind("PersistentVolumeClaim")
	pvc.SetName(name)
	pvc.SetNamespace(namespace)
	return pvc
}
