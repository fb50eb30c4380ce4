package render

import (
	"fmt"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// Set is what a FluxInstance means for one release.
type Set struct {
	// Objects are final and in the order to apply them in.
	Objects []*unstructured.Unstructured
	// Images are what the controllers will run, read from the final Deployments, in the order of the instance's components.
	Images []v1.ComponentImage
	// ReleaseImages are the images before user patches, in the same order; a difference to Images is a user's choice.
	ReleaseImages []v1.ComponentImage
	// Revision is the release with the digest of all bytes of Objects.
	Revision version.Revision
}

// Render builds the set from a distribution, the name of a release in it, and the instance.
//
// Fails with *FieldError where the author of the instance must change it, and with *ReleaseError where the release is broken.
func Render(catalog fs.FS, releaseName string, instance *v1.FluxInstance) (*Set, error) {
	return Platform{}.Render(catalog, releaseName, instance)
}

// render takes the draft through all steps.
func (d *draft) render() (*Set, error) {
	for _, step := range []func() error{
		d.addNamespace,
		d.moveToNamespace,
		d.suffixSharedNames,
		d.rewriteSubjects,
		d.setImages,
		d.setCommonArgs,
		d.setPodDefaults,
		d.extendNotificationKinds,
		d.applyClusterType,
		d.setProxy,
		d.trustAuthorities,
		d.applySize,
		d.lockDown,
		d.openExternalArtifacts,
		d.applyWorkloadIdentity,
		d.addShards,
		d.addStorage,
		d.addSync,
		d.setReleaseMetadata,
		d.setOwnMetadata,
		d.applyPatches,
		d.keepReleaseMetadata,
		d.setOwnMetadata, // again: a patch must neither hide an object from its owner nor undo the common metadata
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return d.finish()
}

// draft is the set under construction.
type draft struct {
	*release
	instance *v1.FluxInstance
	cluster  v1.Cluster
	platform Platform
	// workloads are the Deployments of the main set by component, until shards join them.
	workloads []*workload
	// bytes is the size of what was copied or patched.
	bytes int
	// releaseImages is taken when the images are set, before patches.
	releaseImages []v1.ComponentImage
}

func newDraft(r *release, instance *v1.FluxInstance) (*draft, error) {
	d := &draft{release: r, instance: instance, cluster: instance.Cluster()}
	for _, component := range instance.Components() {
		w, err := d.findWorkload(component)
		if err != nil {
			return nil, err
		}
		d.workloads = append(d.workloads, w)
	}
	return d, nil
}

func (d *draft) findWorkload(component v1.Component) (*workload, error) {
	file := "flux/" + d.name + "/" + string(component) + ".yaml"
	for _, o := range d.objects {
		if o.component != component || o.GetKind() != "Deployment" || o.GetName() != string(component) {
			continue
		}
		w, err := openWorkload(o)
		if err != nil {
			return nil, d.broken(file, err)
		}
		return w, nil
	}
	return nil, d.broken(file, fmt.Errorf("it has no Deployment %q", component))
}

// find returns the object of the release with this name, before any suffix.
func (r *release) find(group, kind, name string) (*object, error) {
	for _, o := range r.objects {
		if o.releaseName == name && o.GetKind() == kind && o.GroupVersionKind().Group == group {
			return o, nil
		}
	}
	return nil, fmt.Errorf("it has no %s %q", kind, name)
}

// of returns the workloads of the named components that are installed, shards included.
func (d *draft) of(components ...v1.Component) []*workload {
	var found []*workload
	for _, w := range d.workloads {
		for _, component := range components {
			if w.component == component {
				found = append(found, w)
			}
		}
	}
	return found
}

func (d *draft) installed(component v1.Component) bool { return len(d.of(component)) > 0 }

// add puts an object of our own into the set.
func (d *draft) add(o *unstructured.Unstructured) *object {
	added := &object{Unstructured: o, releaseName: o.GetName()}
	d.objects = append(d.objects, added)
	return added
}
