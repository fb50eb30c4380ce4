package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/fluxcd/pkg/apis/kustomize"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/gitserver"
)

func syncingFromElsewhere() {
	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		DeferCleanup(asInReadme)
		_, err := here.Commit(ctx, "Go back", site.FirstState())
		must(err)
		requestSync(ctx)
		deploys(ctx, site.FirstState())
	})

	It("keeps what was deployed when there is no sync any more, and takes it up again", func(ctx context.Context) {
		pod, before := workloadPod(ctx), fleet(ctx)
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Sync = nil })
		ready(ctx)
		exactInventory(ctx)
		gone(ctx, "GitRepository")
		gone(ctx, "Kustomization")
		Expect(fleet(ctx)).To(Equal(before))
		untouched(ctx, pod)

		asInReadme(ctx)
		requestSync(ctx)
		handled(ctx, ofSync("Kustomization"))
		fluxReady(ctx, ofSync("Kustomization"))
		Expect(fleet(ctx)).To(Equal(before))
		untouched(ctx, pod)
	})

	It("keeps what was deployed when the source is of another kind", func(ctx context.Context) {
		asInReadme(ctx)
		workloadPod(ctx)
		before := fleet(ctx)
		state := site.FleetState{Message: "deployed from a bucket", Version: "2.0.0"}
		fillBucket(ctx, state)
		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Sync.Kind, i.Spec.Sync.URL, i.Spec.Sync.Ref, i.Spec.Sync.PullSecret = "Bucket", here.Cluster.Servers.S3Inside, testbed.Bucket, bucketSecret
			i.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Patch:  `[{"op": "add", "path": "/spec/insecure", "value": true}]`,
				Target: &kustomize.Selector{Kind: "Bucket"},
			}}}
		})
		ready(ctx)
		exactInventory(ctx)
		gone(ctx, "GitRepository")
		deploys(ctx, state)
		Expect(fleet(ctx)).To(Equal(before))
	})

	It("keeps what was deployed when the source is at another address", func(ctx context.Context) {
		asInReadme(ctx)
		deploys(ctx, site.FirstState())
		before := fleet(ctx)
		state := site.FleetState{Message: "deployed after a move", Version: "2.0.0"}
		address := movedFleet(ctx, state)
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Sync.URL = address })
		ready(ctx)
		exactInventory(ctx)
		deploys(ctx, state)
		Expect(fleet(ctx)).To(Equal(before))

		asInReadme(ctx)
		deploys(ctx, site.FirstState())
		Expect(fleet(ctx)).To(Equal(before))
	})
}

// fleet are the identities of everything that the sync has deployed, the namespace among it.
func fleet(ctx context.Context) map[string]types.UID {
	GinkgoHelper()
	labels := client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": site.Namespace, "kustomize.toolkit.fluxcd.io/namespace": site.Namespace}
	objects, err := here.Objects(ctx, labels)
	must(err)
	found := map[string]types.UID{}
	for i := range objects {
		// What stands behind a Service takes its labels over and is made anew with it.
		if !strings.HasPrefix(objects[i].Kind, "Endpoint") {
			Expect(objects[i].DeletionTimestamp).To(BeNil(), id(&objects[i]))
			found[id(&objects[i])] = objects[i].UID
		}
	}
	Expect(found).To(HaveLen(4), "namespace, Deployment, Service and ConfigMap")
	return found
}

// deploys waits until the sample app is what a state of the fleet asks for.
func deploys(ctx context.Context, state site.FleetState) {
	GinkgoHelper()
	eventually(ctx, soonLimit, "the fleet to be "+state.Message, func(ctx context.Context) error { return answers(ctx, state) })
	Expect(get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{}).Data).To(HaveKeyWithValue("message", state.Message))
}

// gone waits until an object of the sync does not exist any more: its controller has to let it go, and would take away by then what it deployed.
func gone(ctx context.Context, kind string) {
	GinkgoHelper()
	obj := ofSync(kind)
	eventually(ctx, soonLimit, nameOf(obj)+" to be gone", func(ctx context.Context) error {
		err := here.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("it is still there, with finalizers %q", obj.GetFinalizers()))
	})
}

// bucketSecret is the Secret with the credentials of the bucket.
const bucketSecret = "fleet-bucket"

// fillBucket puts a state of the fleet into the S3 bucket and makes the Secret for it.
func fillBucket(ctx context.Context, state site.FleetState) {
	GinkgoHelper()
	files, err := state.Files()
	must(err)
	for path, content := range files {
		url := "http://" + here.Cluster.Servers.S3 + "/" + testbed.Bucket + "/" + path
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(content))
		must(err)
		response, err := http.DefaultClient.Do(request)
		must(err)
		must(errors.Join(response.Body.Close(), succeeded(response)))
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: bucketSecret},
		StringData: map[string]string{"accesskey": testbed.User, "secretkey": testbed.Password},
	}
	must(here.Client.Create(ctx, secret))
	DeferCleanup(func(ctx context.Context) { must(here.Client.Delete(ctx, secret)) })
}

func succeeded(response *http.Response) error {
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("putting %s: %s", response.Request.URL.Path, response.Status)
	}
	return nil
}

// movedFleet makes another repository with a state of the fleet and returns its address.
func movedFleet(ctx context.Context, state site.FleetState) string {
	GinkgoHelper()
	const name = "platform/moved"
	root := here.Cluster.Servers.GitRoot
	must(os.RemoveAll(filepath.Join(root, name+".git")))
	repository, err := gitserver.Create(ctx, root, name)
	must(err)
	files, err := state.Files()
	must(err)
	_, err = repository.Commit(ctx, "Move", files)
	must(err)
	return here.Cluster.Servers.GitInside + "/" + name + ".git"
}
