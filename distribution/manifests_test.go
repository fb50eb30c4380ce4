package distribution

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// oldRelease is one for which no rule holds and that has no source-watcher.
func oldRelease() Release {
	return Release{Version: "2.2.0", Components: []Component{{Name: SourceController, Version: "v1.2.0"}}}
}

func release(t *testing.T, version string) Release {
	t.Helper()
	found, err := mustLoad(t).Release(version)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// podOf returns the pod of a component.
func podOf(t *testing.T, r Release, name string) corev1.PodTemplateSpec {
	t.Helper()
	component, ok := r.Component(name)
	if !ok {
		t.Fatalf("Flux %s has no %s", r.Version, name)
	}
	w, err := workloadOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return r.deployment(component, w).Spec.Template
}

func TestWorkloads(t *testing.T) {
	latest := release(t, "2.9.4")
	tests := map[string]struct {
		grace    int64
		critical bool
		ready    string
		args     int
		mounts   []string
		services []string
	}{
		SourceController:          {10, true, "/", 7, []string{"/data", "/tmp"}, []string{"source-controller:http"}},
		SourceWatcher:             {10, true, "/", 7, []string{"/data", "/tmp"}, []string{"source-watcher:http"}},
		KustomizeController:       {60, true, "/readyz", 5, []string{"/tmp"}, nil},
		HelmController:            {600, true, "/readyz", 5, []string{"/tmp"}, nil},
		ImageReflectorController:  {10, false, "/readyz", 5, []string{"/tmp", "/data"}, nil},
		ImageAutomationController: {10, false, "/readyz", 5, []string{"/tmp"}, nil},
		NotificationController: {10, false, "/readyz", 4, []string{"/tmp"},
			[]string{"notification-controller:http", "webhook-receiver:http-webhook"}},
	}
	for _, component := range latest.Components {
		test, ok := tests[component.Name]
		if !ok {
			t.Errorf("%s is not tested", component.Name)
			continue
		}
		pod := podOf(t, latest, component.Name).Spec
		c := pod.Containers[0]
		var mounts []string
		for _, mount := range c.VolumeMounts {
			mounts = append(mounts, mount.MountPath)
		}
		w, _ := workloadOf(component.Name)
		var services []string
		for _, s := range w.services {
			built := latest.service(component, s)
			services = append(services, built.Name+":"+built.Spec.Ports[0].TargetPort.StrVal)
		}
		type facts struct {
			Grace    int64
			Critical bool
			Ready    string
			Args     int
			Mounts   []string
			Services []string
		}
		want := facts{test.grace, test.critical, test.ready, test.args, test.mounts, test.services}
		got := facts{*pod.TerminationGracePeriodSeconds, pod.PriorityClassName == criticalPriority,
			c.ReadinessProbe.HTTPGet.Path, len(c.Args), mounts, services}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", component.Name, diff)
		}
	}
}

func TestPodsMeetTheRestrictedStandard(t *testing.T) {
	for _, r := range mustLoad(t).Releases {
		for _, component := range r.Components {
			security := podOf(t, r, component.Name).Spec.Containers[0].SecurityContext
			if diff := cmp.Diff(restricted(), security); diff != "" {
				t.Errorf("%s of Flux %s (-want +got):\n%s", component.Name, r.Version, diff)
			}
		}
	}
}

func TestOnlyControllersThatSendEventsHaveAnAddressForThem(t *testing.T) {
	r := release(t, "2.9.4")
	for _, component := range r.Components {
		arguments := strings.Join(podOf(t, r, component.Name).Spec.Containers[0].Args, " ")
		if got, want := strings.Contains(arguments, "--events-addr="), component.Name != NotificationController; got != want {
			t.Errorf("%s: arguments %s", component.Name, arguments)
		}
	}
}

func TestStorageIsNeverSharedByTwoPods(t *testing.T) {
	r := release(t, "2.9.4")
	for _, component := range r.Components {
		w, _ := workloadOf(component.Name)
		strategy := r.deployment(component, w).Spec.Strategy.Type
		if w.servesStorage != (strategy == "Recreate") {
			t.Errorf("%s: strategy %q", component.Name, strategy)
		}
	}
}

func TestEnvironmentFollowsTheRules(t *testing.T) {
	tests := map[string]struct {
		rules map[rule]bool
		want  []string
	}{
		"none":      {nil, []string{"RUNTIME_NAMESPACE", "TUF_ROOT"}},
		"memory":    {map[rule]bool{memoryLimitEnv: true}, []string{"RUNTIME_NAMESPACE", "TUF_ROOT", "GOMEMLIMIT"}},
		"processor": {map[rule]bool{processorLimitEnv: true}, []string{"RUNTIME_NAMESPACE", "TUF_ROOT", "GOMAXPROCS"}},
	}
	for name, test := range tests {
		r := oldRelease()
		r.rules = test.rules
		var got []string
		for _, variable := range podOf(t, r, SourceController).Spec.Containers[0].Env {
			got = append(got, variable.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestLabelsFollowTheRules(t *testing.T) {
	r := oldRelease()
	if diff := cmp.Diff(map[string]string{"app": SourceController}, podOf(t, r, SourceController).Labels); diff != "" {
		t.Errorf("pods without labels (-want +got):\n%s", diff)
	}
	r.rules = map[rule]bool{labelledPods: true, partOfLabel: true}
	want := map[string]string{"app": SourceController, labelComponent: SourceController, labelPartOf: "flux"}
	if diff := cmp.Diff(want, podOf(t, r, SourceController).Labels); diff != "" {
		t.Errorf("labelled pods (-want +got):\n%s", diff)
	}
}

func TestRolesFollowComponentsAndRules(t *testing.T) {
	groups := func(r Release) []string {
		var all []string
		for _, object := range r.rbac() {
			if role, ok := object.(*rbacv1.ClusterRole); ok {
				for _, rule := range role.Rules {
					all = append(all, rule.APIGroups...)
					all = append(all, rule.NonResourceURLs...)
					all = append(all, rule.Resources...)
				}
			}
		}
		return all
	}
	old, latest := groups(oldRelease()), groups(release(t, "2.9.4"))
	for _, name := range []string{groupExtensions, "/livez/ping", "serviceaccounts/token"} {
		if slices.Contains(old, name) {
			t.Errorf("roles of a release without it name %s", name)
		}
		if !slices.Contains(latest, name) {
			t.Errorf("roles do not name %s", name)
		}
	}
}

func TestBindingsNameOnlyControllersOfTheRelease(t *testing.T) {
	r := oldRelease()
	for _, object := range r.rbac() {
		binding, ok := object.(*rbacv1.ClusterRoleBinding)
		if !ok {
			continue
		}
		for _, subject := range binding.Subjects {
			if _, ok := r.Component(subject.Name); !ok {
				t.Errorf("%s is bound to %s", binding.Name, subject.Name)
			}
		}
	}
}

func TestWebhookPolicyFollowsTheRule(t *testing.T) {
	ports := func(r Release) int {
		for _, object := range r.policies() {
			if policy := object.(*networkingv1.NetworkPolicy); policy.Name == "allow-webhooks" {
				return len(policy.Spec.Ingress[0].Ports)
			}
		}
		t.Fatal("allow-webhooks is missing")
		return 0
	}
	if got := ports(release(t, "2.9.2")); got != 0 {
		t.Errorf("Flux 2.9.2 limits webhooks to %d ports", got)
	}
	if got := ports(release(t, "2.9.4")); got != 1 {
		t.Errorf("Flux 2.9.4 limits webhooks to %d ports", got)
	}
}
