package e2e

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	. "github.com/onsi/ginkgo/v2"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func correcting() {
	BeforeAll(asInReadme)

	It("puts an edited Deployment back", func(ctx context.Context) {
		deployment := get(ctx, key("helm-controller"), &appsv1.Deployment{})
		before := deployment.DeepCopy()
		deployment.Spec.Replicas = new(int32)
		must(here.Client.Patch(ctx, deployment, client.MergeFrom(before)))
		putBack(ctx, "the number of replicas", func(ctx context.Context) error {
			now := &appsv1.Deployment{}
			err := here.Client.Get(ctx, key("helm-controller"), now)
			return errors.Join(err, same(now.Spec.Replicas, before.Spec.Replicas))
		})
		recorded(ctx, v1.ReasonDriftCorrected, "Deployment/"+site.Namespace+"/helm-controller configured")
		must(here.AwaitDeployment(ctx, soonLimit, site.Namespace, "helm-controller"))
	})

	It("brings a deleted Deployment back", func(ctx context.Context) {
		deployment := get(ctx, key("notification-controller"), &appsv1.Deployment{})
		old := deployment.UID
		must(here.Client.Delete(ctx, deployment))
		putBack(ctx, "the Deployment", func(ctx context.Context) error {
			now := &appsv1.Deployment{}
			if err := here.Client.Get(ctx, key("notification-controller"), now); err != nil {
				return err
			}
			if now.UID == old {
				return errors.New("the old one is still there")
			}
			return nil
		})
		must(here.AwaitDeployment(ctx, soonLimit, site.Namespace, "notification-controller"))
		exactInventory(ctx)
	})

	It("puts a label of a CRD back", func(ctx context.Context) {
		const name, label = "gitrepositories.source.toolkit.fluxcd.io", "app.kubernetes.io/part-of"
		crd := get(ctx, client.ObjectKey{Name: name}, &apiextensionsv1.CustomResourceDefinition{})
		wanted := crd.Labels[label]
		before := crd.DeepCopy()
		crd.Labels[label] = "something-else"
		must(here.Client.Patch(ctx, crd, client.MergeFrom(before)))
		putBack(ctx, "the label", func(ctx context.Context) error {
			now := &apiextensionsv1.CustomResourceDefinition{}
			err := here.Client.Get(ctx, client.ObjectKey{Name: name}, now)
			return errors.Join(err, same(now.Labels[label], wanted))
		})
	})

	It("puts the owner labels back, without which it would lose sight of an object", func(ctx context.Context) {
		deployment := get(ctx, key("source-controller"), &appsv1.Deployment{})
		before := deployment.DeepCopy()
		delete(deployment.Labels, v1.OwnerNameLabel)
		must(here.Client.Patch(ctx, deployment, client.MergeFrom(before)))
		putBack(ctx, "the owner label", func(ctx context.Context) error {
			now := &appsv1.Deployment{}
			err := here.Client.Get(ctx, key("source-controller"), now)
			return errors.Join(err, same(now.Labels[v1.OwnerNameLabel], v1.DefaultInstanceName))
		})
	})

	It("puts the rules of a ClusterRole back", func(ctx context.Context) {
		name := client.ObjectKey{Name: "crd-controller-" + site.Namespace}
		role := get(ctx, name, &rbacv1.ClusterRole{})
		wanted := role.DeepCopy().Rules
		before := role.DeepCopy()
		role.Rules = role.Rules[1:]
		must(here.Client.Patch(ctx, role, client.MergeFrom(before)))
		putBack(ctx, "the rules", func(ctx context.Context) error {
			now := &rbacv1.ClusterRole{}
			err := here.Client.Get(ctx, name, now)
			return errors.Join(err, same(now.Rules, wanted))
		})
	})

	It("puts drift back also while it waits for readiness", func(ctx context.Context) {
		DeferCleanup(asInReadme)
		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Patch:  `[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "ghcr.io/nowhere/helm-controller:v0"}]`,
				Target: &kustomize.Selector{Kind: "Deployment", Name: "helm-controller"},
			}}}
		})
		eventually(ctx, soonLimit, "the operator to wait for the missing image", func(ctx context.Context) error {
			now := &appsv1.Deployment{}
			if err := here.Client.Get(ctx, key("helm-controller"), now); err != nil {
				return err
			}
			return same(now.Spec.Template.Spec.Containers[0].Image, "ghcr.io/nowhere/helm-controller:v0")
		})
		deployment := get(ctx, key("notification-controller"), &appsv1.Deployment{})
		old := deployment.UID
		must(here.Client.Delete(ctx, deployment))
		putBack(ctx, "a Deployment deleted during a wait", func(ctx context.Context) error {
			now := &appsv1.Deployment{}
			if err := here.Client.Get(ctx, key("notification-controller"), now); err != nil {
				return err
			}
			if now.UID == old {
				return errors.New("the old one is still there")
			}
			return nil
		})
	})

	It("stays ready meanwhile, with an exact inventory", func(ctx context.Context) {
		instance := ready(ctx)
		checkConditions(instance)
		exactInventory(ctx)
		deploymentsAvailable(ctx, defaultControllers()...)
	})
}

// putBack waits for drift to be corrected as soon as is promised, and tells how long it took.
func putBack(ctx context.Context, what string, check func(context.Context) error) {
	GinkgoHelper()
	changed := time.Now()
	eventually(ctx, driftLimit, what+" to be put back", check)
	GinkgoWriter.Printf("%s: put back after %d ms\n", what, time.Since(changed).Milliseconds())
}

func same(now, wanted any) error {
	if equality.Semantic.DeepEqual(now, wanted) {
		return nil
	}
	return fmt.Errorf("it is %v, wanted %v", now, wanted)
}
