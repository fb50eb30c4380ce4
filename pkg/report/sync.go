package report

import (
	"slices"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// sync tells how the Kustomization goes that the FluxInstance made, and its source.
func (d *draft) sync() {
	if err := d.in.Instance.Err; err != nil {
		d.stale("sync", err.Error())
		d.spec.SyncStatus = d.previous.SyncStatus
		return
	}
	kind := d.snapshot.kind("kustomize.toolkit.fluxcd.io", "Kustomization")
	if d.isUnread("Kustomization") {
		d.stale("sync", "Kustomizations are not read yet")
		d.spec.SyncStatus = d.previous.SyncStatus
		return
	}
	if kind == nil {
		return
	}
	d.doubt("sync", kind.Health)
	name := d.in.Namespace
	if instance := d.in.Instance.Value; instance != nil {
		name = instance.SyncName()
	}
	applied := kind.find(d.in.Namespace, name)
	if applied == nil {
		return
	}
	d.spec.SyncStatus = &v1.FluxSyncStatus{
		ID: "kustomization/" + name, Path: applied.path.Value(), Ready: applied.ready != readyFalse, Status: applied.message.Value(),
	}
	if applied.suspended {
		d.spec.SyncStatus.Status = "Suspended " + d.spec.SyncStatus.Status
	}
	d.syncSource(applied.sourceOf())
}

// syncSource tells of the source, and that the sync is not ready when its source is not.
func (d *draft) syncSource(ref sourceRef) {
	i := slices.IndexFunc(d.snapshot.Kinds, func(k Kind) bool { return k.Kind == ref.kind && isSourceGroup(k.Group) })
	if i < 0 {
		return
	}
	source := d.snapshot.Kinds[i].find(ref.namespace, ref.name)
	if source == nil {
		return
	}
	d.spec.SyncStatus.Source = source.url.Value()
	if ref.kind == "Bucket" {
		d.spec.SyncStatus.Source += "/" + source.ref.Value()
	}
	if source.ready == readyFalse {
		d.spec.SyncStatus.Ready = false
		d.spec.SyncStatus.Status += "\n" + source.message.Value()
	}
}

// isSourceGroup tells whether Kustomizations find their sources in a group.
func isSourceGroup(group string) bool { return group == sourceGroup || group == sourceExtensions }

// find returns an object of the kind, nil where there is none.
func (k *Kind) find(namespace, name string) *record {
	wanted := key{namespace: symbolOf(namespace), name: name}
	i := slices.IndexFunc(k.objects, func(object *record) bool { return object.key == wanted })
	if i < 0 {
		return nil
	}
	return k.objects[i]
}
