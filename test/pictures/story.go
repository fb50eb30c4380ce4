package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// limit bounds each wait; a quiet machine needs a tenth of it.
	limit = 3 * time.Minute
	// glance is how long each state stays, so that it can be seen in the pictures.
	glance = 20 * time.Second
	// rivalPause is the time between two attempts of somebody who fights.
	rivalPause = 200 * time.Millisecond
)

// story is what happens on the cluster while Prometheus looks.
type story struct{ *site.Site }

// tell plays the story.
func (s *story) tell(ctx context.Context) error {
	for _, scene := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"nothing is installed", func(context.Context) error { return nil }},
		{"Flux v2.9.2 is installed", s.install},
		{"teams deploy their applications, not all of them well", s.deploy},
		{"Flux is upgraded", func(ctx context.Context) error { return s.ask(ctx, "2.x") }},
		{"somebody changes the controllers", s.drift},
		{"a mistake is corrected", s.repair},
		{"a release is asked for that does not exist", s.mistake},
		{"that is taken back", func(ctx context.Context) error { return s.ask(ctx, "2.x") }},
		{"two managers fight over a Deployment", s.fight},
	} {
		fmt.Fprintln(os.Stderr, scene.title)
		if err := scene.play(ctx); err != nil {
			return fmt.Errorf("%s: %w", scene.title, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(glance):
		}
	}
	return nil
}

func (s *story) install(ctx context.Context) error {
	instance, err := s.Sample()
	if err != nil {
		return err
	}
	instance.Spec.Distribution.Version = "2.9.2"
	if err := s.Client.Create(ctx, instance); err != nil {
		return err
	}
	_, err = s.AwaitReady(ctx, limit)
	return err
}

// ask changes which releases of Flux are asked for, and waits until one of them runs.
func (s *story) ask(ctx context.Context, version string) error {
	if _, err := s.Change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = version }); err != nil {
		return err
	}
	_, err := s.AwaitReady(ctx, limit)
	return err
}

// failures are objects that cannot become ready.
func (s *story) failures() []*unstructured.Unstructured {
	const source, kustomize = "source.toolkit.fluxcd.io/v1", "kustomize.toolkit.fluxcd.io/v1"
	return []*unstructured.Unstructured{
		object(source, "HelmRepository", "charts", map[string]any{"url": s.Cluster.Servers.GitInside + "/charts", "interval": "1m"}),
		object("helm.toolkit.fluxcd.io/v2", "HelmRelease", "redis", map[string]any{"interval": "1m", "chart": map[string]any{"spec": map[string]any{
			"chart": "redis", "sourceRef": map[string]any{"kind": "HelmRepository", "name": "charts"},
		}}}),
		object(source, "GitRepository", "next", map[string]any{
			"url": s.FleetURL(), "interval": "1m", "ref": map[string]any{"branch": "next"}, "secretRef": map[string]any{"name": site.PullSecret},
		}),
		object(source, "OCIRepository", "modules", map[string]any{"url": "oci://registry.testbed:5000/platform/modules", "insecure": true, "interval": "1m"}),
		object(kustomize, "Kustomization", "audit", map[string]any{
			"interval": "1m", "prune": true, "path": "./", "sourceRef": map[string]any{"kind": "OCIRepository", "name": "modules"},
		}),
		object(kustomize, "Kustomization", "reports", map[string]any{
			"interval": "1m", "prune": true, "path": "./apps/reports", "sourceRef": map[string]any{"kind": "GitRepository", "name": site.Namespace},
		}),
	}
}

// applications are the paths of the fleet repository that Kustomizations deploy, and on which others they depend. Of one the path has a typing error.
func applications() map[string]string {
	return map[string]string{
		"ingress": "", "certificates": "", "monitoring": "", "identity": "", "catalog": "", "search": "", "checkout": "billing", "billing": "",
	}
}

func (s *story) deploy(ctx context.Context) error {
	files := map[string]string{}
	objects := append(s.failures(), object("source.toolkit.fluxcd.io/v1", "GitRepository", "sandbox", map[string]any{
		"url": s.FleetURL(), "interval": "1m", "suspend": true,
	}))
	for name, needs := range applications() {
		files["apps/"+name+"/config.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: default}\n"
		spec := map[string]any{
			"interval": "1m", "retryInterval": "5s", "prune": true, "path": "./apps/" + name,
			"sourceRef": map[string]any{"kind": "GitRepository", "name": site.Namespace},
		}
		if name == "billing" {
			spec["path"] = "./apps/biling"
		}
		if needs != "" {
			spec["dependsOn"] = []any{map[string]any{"name": needs}}
		}
		objects = append(objects, object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", name, spec))
	}
	if _, err := s.Fleet.Commit(ctx, "Add the applications", files); err != nil {
		return err
	}
	source := object("source.toolkit.fluxcd.io/v1", "GitRepository", site.Namespace, nil)
	request := fmt.Appendf(nil, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, time.Now().Format(time.RFC3339Nano))
	if err := s.Client.Patch(ctx, source, client.RawPatch(types.MergePatchType, request)); err != nil {
		return err
	}
	for _, obj := range objects {
		if err := s.Client.Create(ctx, obj); err != nil {
			return err
		}
	}
	return s.awaitReadiness(ctx, "search", metav1.ConditionTrue)
}

// drift changes what the operator sets, a few times, and waits each time until it is put back.
func (s *story) drift(ctx context.Context) error {
	for _, name := range []string{"helm-controller", "source-controller", "helm-controller"} {
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: name}}
		if err := s.Client.Patch(ctx, deployment, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`))); err != nil {
			return err
		}
		if err := s.putBack(ctx, deployment, func() bool { return *deployment.Spec.Replicas == 1 }); err != nil {
			return err
		}
		if err := s.AwaitDeployment(ctx, limit, site.Namespace, name); err != nil {
			return err
		}
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: "webhook-receiver"}}
		if err := s.Client.Delete(ctx, service); err != nil {
			return err
		}
		if err := s.putBack(ctx, service, func() bool { return service.DeletionTimestamp == nil }); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) putBack(ctx context.Context, obj client.Object, isBack func() bool) error {
	return s.Await(ctx, limit, obj.GetName()+" to be put back", func(ctx context.Context) error {
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if err == nil && !isBack() {
			err = errors.New("it is not")
		}
		return err
	})
}

func (s *story) repair(ctx context.Context) error {
	billing := object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "billing", nil)
	if err := s.Client.Patch(ctx, billing, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"path":"./apps/billing"}}`))); err != nil {
		return err
	}
	return s.awaitReadiness(ctx, "checkout", metav1.ConditionTrue)
}

func (s *story) mistake(ctx context.Context) error {
	if _, err := s.Change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "3.x" }); err != nil {
		return err
	}
	_, err := s.AwaitFailure(ctx, limit, v1.ReasonBuildFailed)
	return err
}

// fight sets a label whenever it is put back, until the operator gives in.
func (s *story) fight(ctx context.Context) error {
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/component":"platform"}}}`))
	ticker := time.NewTicker(rivalPause)
	defer ticker.Stop()
	return s.Await(ctx, limit, "the operator to give in", func(ctx context.Context) error {
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: "helm-controller"}}
		if err := s.Client.Patch(ctx, deployment, patch, client.FieldOwner("argocd-controller")); err != nil {
			return err
		}
		<-ticker.C
		instance, err := s.Instance(ctx)
		if err != nil {
			return err
		}
		for _, condition := range instance.Status.Conditions {
			if condition.Type == v1.ContestedCondition {
				return nil
			}
		}
		return errors.New("it has not")
	})
}

// awaitReadiness waits until the condition Ready of a Kustomization has a status.
func (s *story) awaitReadiness(ctx context.Context, name string, status metav1.ConditionStatus) error {
	obj := object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", name, nil)
	return s.Await(ctx, limit, "Kustomization "+name+" to be ready", func(ctx context.Context) error {
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		conditions, _, err := unstructured.NestedSlice(obj.Object, "status", "conditions")
		if err != nil {
			return err
		}
		for _, c := range conditions {
			if condition, ok := c.(map[string]any); ok && condition["type"] == "Ready" && condition["status"] == string(status) {
				return nil
			}
		}
		return fmt.Errorf("its conditions are %v", conditions)
	})
}

// object is one of Flux's in its own namespace.
func object(apiVersion, kind, name string, spec map[string]any) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{Object: map[string]any{}}
	obj.SetAPIVersion(apiVersion)
	obj.SetKind(kind)
	obj.SetNamespace(site.Namespace)
	obj.SetName(name)
	if spec != nil {
		obj.Object["spec"] = spec
	}
	return obj
}
