package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

// victim is the controller that somebody deletes.
const victim = "helm-controller"

func (d *demo) commit(ctx context.Context) error {
	second := site.FleetState{Message: "deployed by a second commit", Version: "2.0.0"}
	commit, err := d.site.Commit(ctx, "Greet differently, with the app's next version", second)
	if err != nil {
		return err
	}
	pushed := time.Now()
	if err := d.changes(second); err != nil {
		return err
	}
	d.out.notef("pushed as commit %s", commit[:12])
	err = d.site.Await(ctx, installLimit, "the second commit to run", func(ctx context.Context) error {
		said, err := d.answer(ctx)
		if err == nil && !strings.Contains(said, second.Message) {
			err = fmt.Errorf("the app still says %q", said)
		}
		return err
	})
	if err != nil {
		return err
	}
	d.out.notef("it runs %s after the push; Flux looks at the repository every %s here", seconds(time.Since(pushed)), syncInterval)
	return d.ask(ctx)
}

// changes shows how the repository differs from the first commit.
func (d *demo) changes(second site.FleetState) error {
	before, err := site.FirstState().Files()
	if err != nil {
		return err
	}
	after, err := second.Files()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if before[name] != after[name] {
			d.out.sayf("%s", name)
			d.out.difference(before[name], after[name])
		}
	}
	return nil
}

func (d *demo) drift(ctx context.Context) error {
	before, err := d.uid(ctx)
	if err != nil {
		return err
	}
	if err := d.kubectl(ctx, "-n", site.Namespace, "delete", "deployment", victim, "--wait=false"); err != nil {
		return err
	}
	deleted := time.Now()
	err = d.site.Await(ctx, installLimit, victim+" to be back", func(ctx context.Context) error {
		if now, err := d.uid(ctx); err != nil || now == before {
			return errors.Join(err, errors.New("it is not there"))
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.out.notef("it was there again %s later; the operator watches what it owns", seconds(time.Since(deleted)))
	if err := d.site.AwaitDeployment(ctx, installLimit, site.Namespace, victim); err != nil {
		return err
	}
	return d.events(ctx, v1.ReasonDriftCorrected)
}

func (d *demo) uid(ctx context.Context) (types.UID, error) {
	deployment := &appsv1.Deployment{}
	err := d.site.Client.Get(ctx, client.ObjectKey{Namespace: site.Namespace, Name: victim}, deployment)
	return deployment.UID, err
}

// events shows what the operator told about the instance for one reason.
func (d *demo) events(ctx context.Context, reason string) error {
	selection := client.MatchingFields{"involvedObject.kind": v1.FluxInstanceKind, "reason": reason}
	events := &corev1.EventList{}
	err := d.site.Await(ctx, installLimit, "an event "+reason, func(ctx context.Context) error {
		if err := d.site.Client.List(ctx, events, client.InNamespace(site.Namespace), selection); err != nil {
			return err
		}
		if len(events.Items) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, event := range events.Items {
		d.out.sayf("event %s %s:", event.Type, event.Reason)
		d.out.quiet(indented(event.Message))
	}
	return nil
}

func (d *demo) mistake(ctx context.Context) error {
	instance, err := d.site.Instance(ctx)
	if err != nil {
		return err
	}
	wanted := instance.Spec.Distribution.Version
	if err := d.patchVersion(ctx, "3.x"); err != nil {
		return err
	}
	failed, err := d.site.AwaitFailure(ctx, installLimit, v1.ReasonBuildFailed)
	if err != nil {
		return err
	}
	said := apimeta.FindStatusCondition(failed.Status.Conditions, meta.ReadyCondition)
	d.out.sayf("Ready is %s, %s:", said.Status, said.Reason)
	d.out.quiet(indented(said.Message))
	if err := d.kubectl(ctx, "-n", site.Namespace, "get", "deployments"); err != nil {
		return err
	}
	if err := d.patchVersion(ctx, wanted); err != nil {
		return err
	}
	_, err = d.site.AwaitReady(ctx, installLimit)
	return err
}

func (d *demo) patchVersion(ctx context.Context, version string) error {
	return d.kubectl(ctx, "-n", site.Namespace, "patch", "fluxinstance", v1.DefaultInstanceName, "--type=merge",
		"--patch", fmt.Sprintf(`{"spec":{"distribution":{"version":%q}}}`, version))
}

func (d *demo) uninstall(ctx context.Context) error {
	pod, err := d.workload(ctx)
	if err != nil {
		return err
	}
	if err := d.kubectl(ctx, "-n", site.Namespace, "delete", "fluxinstance", v1.DefaultInstanceName, "--timeout="+installLimit.String()); err != nil {
		return err
	}
	if err := d.onlyOperatorLeft(ctx); err != nil {
		return err
	}
	if err := errors.Join(
		d.events(ctx, v1.ReasonUninstalled),
		d.kubectl(ctx, "-n", site.Namespace, "get", "deployments"),
		d.kubectl(ctx, "-n", site.WorkloadNamespace, "get", "deployment,pod"),
		d.ask(ctx)); err != nil {
		return err
	}
	now, err := d.workload(ctx)
	if err != nil {
		return err
	}
	if now.UID != pod.UID {
		return fmt.Errorf("the app's pod was %q and is %q", pod.Name, now.Name)
	}
	d.out.sayf("It is the same pod as before.")
	return nil
}

// onlyOperatorLeft checks that Flux is gone, its definitions included.
func (d *demo) onlyOperatorLeft(ctx context.Context) error {
	left, err := d.site.Owned(ctx)
	if err != nil {
		return err
	}
	for i := range left {
		if left[i].Kind != "Namespace" {
			return fmt.Errorf("after the removal %s %q is left", left[i].Kind, left[i].Name)
		}
	}
	return nil
}

// workload is the one pod that the repository deploys.
func (d *demo) workload(ctx context.Context) (*corev1.Pod, error) {
	pods := &corev1.PodList{}
	err := d.site.Await(ctx, installLimit, "one pod of the app", func(ctx context.Context) error {
		if err := d.site.Client.List(ctx, pods, client.InNamespace(site.WorkloadNamespace)); err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Status.Phase != corev1.PodRunning {
			return fmt.Errorf("there are %d", len(pods.Items))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &pods.Items[0], nil
}

// lines splits a text without its last line break.
func lines(text string) []string {
	return strings.Split(strings.TrimRight(text, "\n"), "\n")
}
