package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// storageClass has volumes that are bound as soon as a pod wants one, and never made or grown by anybody.
	storageClass = "e2e-local"
	volumeSize   = "1Gi"
)

// storage is what an instance says to use the volumes.
func storage() *v1.Storage { return &v1.Storage{Class: storageClass, Size: volumeSize} }

// offerVolumes makes a storage class with a number of volumes: folders of the node, which this machine sees as well. They go at the end of
// the container, when no claim uses them any more.
func offerVolumes(ctx context.Context, count int) {
	GinkgoHelper()
	later := storagev1.VolumeBindingWaitForFirstConsumer
	class := &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: storageClass},
		Provisioner:       "kubernetes.io/no-provisioner",
		VolumeBindingMode: &later,
	}
	must(here.Client.Create(ctx, class))
	DeferCleanup(func(ctx context.Context) { must(here.Client.Delete(ctx, class)) })
	nodes := &corev1.NodeList{}
	must(here.Client.List(ctx, nodes))
	Expect(nodes.Items).To(HaveLen(1))
	folder := filepath.Join(here.Cluster.Dir, "volumes")
	DeferCleanup(func() { must(os.RemoveAll(folder)) })
	for i := range count {
		name := fmt.Sprintf("e2e-%d", i)
		must(os.MkdirAll(filepath.Join(folder, name), 0o755))
		volume := localVolume(name, filepath.Join(folder, name), nodes.Items[0].Labels[corev1.LabelHostname])
		must(here.Client.Create(ctx, volume))
		DeferCleanup(func(ctx context.Context) {
			eventually(ctx, soonLimit, "the claim of volume "+name+" to be gone", func(ctx context.Context) error {
				if err := here.Client.Get(ctx, client.ObjectKeyFromObject(volume), volume); err != nil {
					return err
				}
				if volume.Status.Phase == corev1.VolumeBound {
					return fmt.Errorf("it is bound to %s", volume.Spec.ClaimRef.Name)
				}
				return nil
			})
			must(here.Delete(ctx, soonLimit, volume))
		})
	}
}

func localVolume(name, path, node string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              storageClass,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(volumeSize)},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
}

// claims says what every claim in Flux's namespace is, and is bound to.
func claims(ctx context.Context) map[string]string {
	GinkgoHelper()
	list := &corev1.PersistentVolumeClaimList{}
	must(here.Client.List(ctx, list, client.InNamespace(site.Namespace)))
	found := map[string]string{}
	for _, claim := range list.Items {
		found[claim.Name] = fmt.Sprintf("%s %s of %s, %s to %s", claim.UID, claim.Spec.Resources.Requests.Storage(), *claim.Spec.StorageClassName,
			claim.Status.Phase, claim.Spec.VolumeName)
	}
	return found
}

// volumeOf returns the folder of the volume that a controller stores on, and checks that its pod really mounts it.
func volumeOf(ctx context.Context, controller string) string {
	GinkgoHelper()
	claim := get(ctx, key(controller), &corev1.PersistentVolumeClaim{})
	Expect(claim.Status.Phase).To(Equal(corev1.ClaimBound), controller)
	Expect(claim.Status.Capacity.Storage().String()).To(Equal(volumeSize))
	volume := get(ctx, client.ObjectKey{Name: claim.Spec.VolumeName}, &corev1.PersistentVolume{})
	Expect(volume.Spec.ClaimRef.UID).To(Equal(claim.UID))
	for _, pod := range podsOf(ctx, controller) {
		var mounted []string
		for _, v := range pod.Spec.Volumes {
			if v.PersistentVolumeClaim != nil {
				mounted = append(mounted, v.PersistentVolumeClaim.ClaimName)
			}
		}
		Expect(mounted).To(ConsistOf(controller), pod.Name)
	}
	return volume.Spec.Local.Path
}

// kept is an artifact on a volume: the file, and when its controller made it.
type kept struct {
	path string
	info os.FileInfo
	made metav1.Time
}

// storedBy checks that an artifact is served by one controller and really lies on the volume of that controller, and on no other.
func storedBy(ctx context.Context, artifact *meta.Artifact, controller string) kept {
	GinkgoHelper()
	Expect(artifact).NotTo(BeNil())
	Expect(artifact.URL).To(HavePrefix("http://" + controller + "." + site.Namespace + ".svc.cluster.local./"))
	path := filepath.Join(volumeOf(ctx, controller), artifact.Path)
	info, err := os.Stat(path)
	must(err)
	file, err := os.Open(path)
	must(err)
	defer file.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	must(err)
	Expect(fmt.Sprintf("sha256:%x", sum.Sum(nil))).To(Equal(artifact.Digest))
	everywhere, err := filepath.Glob(filepath.Join(here.Cluster.Dir, "volumes", "*", artifact.Path))
	must(err)
	Expect(everywhere).To(ConsistOf(path))
	return kept{path: path, info: info, made: artifact.LastUpdateTime}
}

// untouchedSince checks that an artifact is still the same file: its controller has found it where it had left it.
func (k kept) untouchedSince(before kept) {
	GinkgoHelper()
	Expect(k.path).To(Equal(before.path))
	Expect(os.SameFile(k.info, before.info)).To(BeTrue(), "%s was written anew", k.path)
	Expect(k.made.Equal(&before.made)).To(BeTrue(), "%s was made anew at %s", k.path, k.made)
}

// podsOf are the pods of a controller that are not on their way out.
func podsOf(ctx context.Context, controller string) []corev1.Pod {
	GinkgoHelper()
	list := &corev1.PodList{}
	must(here.Client.List(ctx, list, client.InNamespace(site.Namespace), client.MatchingLabels{"app": controller}))
	var found []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			found = append(found, pod)
		}
	}
	Expect(found).NotTo(BeEmpty(), controller)
	return found
}
