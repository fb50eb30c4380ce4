package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

// reportLimit is how soon the report and the metrics are promised to tell of a change. One change may come later on a busy machine; how late 99 of 100
// come is measured by make bench.
const reportLimit = 5 * time.Second

// troubled is the name of the objects that fail on purpose.
const troubled = "troubled"

func reporting() {
	var scrape func(context.Context) string
	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		scrape = scraping(ctx)
	})

	It("tells what runs, and counts exactly", func(ctx context.Context) {
		fluxReady(ctx, ofSync("Kustomization"))
		handled(ctx, ofSync("Kustomization"))
		reports(ctx, "the report to be whole", func(spec *v1.FluxReportSpec) error {
			if len(spec.Stale) > 0 {
				return fmt.Errorf("these parts are old: %+v", spec.Stale)
			}
			wanted := &v1.FluxUpgradeStatus{Running: "v2.9.4", Elected: "v2.9.4", Available: "v2.9.4"}
			return errors.Join(same(spec.Upgrade, wanted), same(spec.SyncStatus != nil && spec.SyncStatus.Ready, true), counted(ctx, spec))
		})
		found := fluxReport(ctx)
		Expect(apimeta.IsStatusConditionTrue(found.Status.Conditions, meta.ReadyCondition)).To(BeTrue(), "%+v", found.Status.Conditions)
		Expect(found.Spec.Distribution.Status).To(Equal("Installed"))
		Expect(found.Spec.Distribution.Version).To(Equal("v2.9.4"))
		Expect(found.Spec.Distribution.ManagedBy).To(Equal("flux-operator"))
		Expect(found.Spec.Cluster.Nodes).To(Equal(1))
		Expect(found.Spec.SyncStatus.ID).To(Equal("kustomization/" + site.Namespace))
		Expect(found.Spec.SyncStatus.Source).To(Equal(here.FleetURL()))
		Expect(found.Spec.Failing).To(BeEmpty())
		var names []string
		for _, component := range found.Spec.ComponentsStatus {
			names = append(names, component.Name)
			Expect(component.Ready).To(BeTrue(), "%+v", component)
			Expect(component.Cause).To(BeEmpty(), component.Name)
		}
		slices.Sort(names)
		Expect(names).To(Equal(slices.Sorted(slices.Values(defaultControllers()))))
	})

	It("tells of a GitRepository that fails, is suspended, and recovers", func(ctx context.Context) {
		repository := troubledObject("GitRepository", map[string]any{
			"interval": "1m", "timeout": "10s", "url": here.Cluster.Servers.GitInside + "/nowhere.git", "ref": map[string]any{"name": "refs/heads/main"}, "secretRef": map[string]any{"name": site.PullSecret},
		})
		s := subject{repository, scrape}
		s.fails(ctx)

		patchSpec(ctx, repository, map[string]any{"suspend": true})
		s.suspended(ctx)

		patchSpec(ctx, repository, map[string]any{"suspend": false, "url": here.FleetURL()})
		fluxReady(ctx, repository)
		s.told(ctx, "ready again", func(spec *v1.FluxReportSpec) error {
			return errors.Join(same(statsOf(spec, repository).Failing, 0), same(statsOf(spec, repository).Suspended, 0), counted(ctx, spec))
		}, `ready="True"`, `suspended="False"`)
	})

	It("tells of a HelmRelease that fails or is suspended as soon as is promised", func(ctx context.Context) {
		var failing, suspended []time.Duration
		for i := range 3 {
			release := troubledObject("HelmRelease", map[string]any{
				"interval": "1m", "chart": map[string]any{"spec": map[string]any{
					"chart": "nothing", "sourceRef": map[string]any{"kind": "HelmRepository", "name": "nowhere"},
				}},
			})
			release.SetName(fmt.Sprintf("%s-%d", troubled, i))
			s := subject{release, scrape}
			failing = append(failing, s.fails(ctx))
			patchSpec(ctx, release, map[string]any{"suspend": true})
			suspended = append(suspended, s.suspended(ctx))
			patchSpec(ctx, release, map[string]any{"suspend": false}) // else its chart would stay when it is deleted
		}
		Expect(median(failing)).To(BeNumerically("<", reportLimit), "failing: %v", failing)
		Expect(median(suspended)).To(BeNumerically("<", reportLimit), "suspended: %v", suspended)
	})

	It("says what keeps the pods of a controller from running, and prints it", func(ctx context.Context) {
		DeferCleanup(asInReadme)
		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Patch:  `[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "ghcr.io/nowhere/helm-controller:v0"}]`,
				Target: &kustomize.Selector{Kind: "Deployment", Name: "helm-controller"},
			}}}
		})
		reports(ctx, "the report to name the image", func(spec *v1.FluxReportSpec) error {
			i := slices.IndexFunc(spec.ComponentsStatus, func(c v1.FluxComponentStatus) bool { return c.Name == "helm-controller" })
			if i < 0 || spec.ComponentsStatus[i].Ready || !strings.Contains(spec.ComponentsStatus[i].Cause, "ImagePull") {
				return fmt.Errorf("it has %+v", spec.ComponentsStatus)
			}
			return nil
		})
		Expect(scrape(ctx)).To(ContainSubstring(`flux_component_ready{name="helm-controller"} 0`))

		tool := buildTool(ctx)
		table := output(ctx, tool, "report", "--kubeconfig", here.Cluster.Kubeconfig)
		Expect(table).To(MatchRegexp(`helm-controller +no .*ImagePull`))
		printed := &v1.FluxReport{}
		must(json.Unmarshal([]byte(output(ctx, tool, "report", "--kubeconfig", here.Cluster.Kubeconfig, "-o", "json")), printed))
		Expect(printed.Spec.ComponentsStatus).NotTo(BeEmpty())

		asInReadme(ctx)
		reports(ctx, "all controllers to be ready again", func(spec *v1.FluxReportSpec) error {
			for _, component := range spec.ComponentsStatus {
				if !component.Ready || component.Cause != "" {
					return fmt.Errorf("%+v", component)
				}
			}
			return nil
		})
	})
}

// fluxReport reads the report.
func fluxReport(ctx context.Context) *v1.FluxReport {
	GinkgoHelper()
	return get(ctx, key(v1.DefaultInstanceName), &v1.FluxReport{})
}

// reports waits until the report says something.
func reports(ctx context.Context, what string, check func(*v1.FluxReportSpec) error) {
	GinkgoHelper()
	eventually(ctx, soonLimit, what, func(ctx context.Context) error {
		found := &v1.FluxReport{}
		if err := here.Client.Get(ctx, key(v1.DefaultInstanceName), found); err != nil {
			return err
		}
		return check(&found.Spec)
	})
}

// subject is an object, and how to read the metrics that tell of it.
type subject struct {
	*unstructured.Unstructured

	scrape func(context.Context) string
}

// told waits until report and metrics tell of a change of an object that was just made, and says how long it took.
func (s subject) told(ctx context.Context, what string, check func(*v1.FluxReportSpec) error, labels ...string) time.Duration {
	GinkgoHelper()
	changed, obj := time.Now(), s.Unstructured
	eventually(ctx, soonLimit, "metrics to say that "+nameOf(obj)+" is "+what, func(ctx context.Context) error {
		series := seriesOf(s.scrape(ctx), obj)
		for _, label := range labels {
			if !strings.Contains(series, label) {
				return fmt.Errorf("the series is %q", series)
			}
		}
		return nil
	})
	inMetrics := time.Since(changed)
	reports(ctx, "the report to say that "+nameOf(obj)+" is "+what, check)
	inReport := time.Since(changed)
	GinkgoWriter.Printf("%s is %s: told in metrics after %d ms and in the report after %d ms\n", nameOf(obj), what, inMetrics.Milliseconds(), inReport.Milliseconds())
	return inReport
}

// suspended waits until report and metrics tell that an object was just suspended, and says how long it took.
func (s subject) suspended(ctx context.Context) time.Duration {
	GinkgoHelper()
	return s.told(ctx, "suspended", func(spec *v1.FluxReportSpec) error {
		return errors.Join(same(statsOf(spec, s.Unstructured).Suspended, 1), same(failingIn(spec, s.Unstructured) == nil, true))
	}, `suspended="True"`)
}

// fails makes an object that fails, and says how long it took report and metrics to tell so.
func (s subject) fails(ctx context.Context) time.Duration {
	GinkgoHelper()
	obj := s.Unstructured
	must(here.Client.Create(ctx, obj))
	DeferCleanup(func(ctx context.Context) {
		must(here.Delete(ctx, soonLimit, obj))
		reports(ctx, "the report to forget "+nameOf(obj), func(spec *v1.FluxReportSpec) error {
			return errors.Join(same(failingIn(spec, obj) == nil, true), counted(ctx, spec))
		})
		Expect(seriesOf(s.scrape(ctx), obj)).To(BeEmpty())
	})
	var failure *metav1.Condition
	eventually(ctx, soonLimit, nameOf(obj)+" to fail", func(ctx context.Context) error {
		_, condition, err := readiness(ctx, obj)
		if err != nil {
			return err
		}
		failure = condition
		return same(condition.Status, metav1.ConditionFalse)
	})
	return s.told(ctx, "failing", func(spec *v1.FluxReportSpec) error {
		listed := failingIn(spec, obj)
		if listed == nil {
			return fmt.Errorf("what fails is %+v", spec.Failing)
		}
		return errors.Join(same(listed.Reason, failure.Reason), same(strings.HasPrefix(failure.Message, strings.TrimSuffix(listed.Message, "…")), true), counted(ctx, spec))
	}, `ready="False"`, `reason="`+failure.Reason+`"`)
}

// median is what half of the durations do not exceed.
func median(durations []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(durations))[(len(durations)-1)/2]
}

// troubledObject is an object of Flux that cannot become ready.
func troubledObject(kind string, spec map[string]any) *unstructured.Unstructured {
	obj := ofSync(kind)
	if kind == "HelmRelease" {
		obj.SetAPIVersion("helm.toolkit.fluxcd.io/v2")
	}
	obj.SetName(troubled)
	obj.Object["spec"] = spec
	return obj
}

func patchSpec(ctx context.Context, obj *unstructured.Unstructured, spec map[string]any) {
	GinkgoHelper()
	patch, err := json.Marshal(map[string]any{"spec": spec})
	must(err)
	must(here.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch)))
}

// failingIn finds an object among those that a report says fail.
func failingIn(spec *v1.FluxReportSpec, obj *unstructured.Unstructured) *v1.FluxFailingObject {
	i := slices.IndexFunc(spec.Failing, func(f v1.FluxFailingObject) bool {
		return f.FluxObjectReference == v1.FluxObjectReference{Kind: obj.GetKind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
	})
	if i < 0 {
		return nil
	}
	return &spec.Failing[i]
}

// statsOf are the numbers of an object's kind.
func statsOf(spec *v1.FluxReportSpec, obj *unstructured.Unstructured) v1.FluxReconcilerStats {
	for _, reconciler := range spec.ReconcilersStatus {
		if reconciler.Kind == obj.GetKind() {
			return reconciler.Stats
		}
	}
	return v1.FluxReconcilerStats{}
}

// counted compares the numbers of all kinds with what a list of their objects says.
func counted(ctx context.Context, spec *v1.FluxReportSpec) error {
	definitions := &apiextensionsv1.CustomResourceDefinitionList{}
	if err := here.Client.List(ctx, definitions, client.MatchingLabels{"app.kubernetes.io/part-of": "flux"}); err != nil {
		return err
	}
	var missing []string
	for i := range definitions.Items {
		kind := definitions.Items[i].Spec.Names.Kind
		if !slices.ContainsFunc(spec.ReconcilersStatus, func(r v1.FluxReconcilerStatus) bool { return r.Kind == kind }) {
			missing = append(missing, kind)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the report does not count %q", missing)
	}
	for _, reconciler := range spec.ReconcilersStatus {
		objects := &unstructured.UnstructuredList{}
		objects.SetAPIVersion(reconciler.APIVersion)
		objects.SetKind(reconciler.Kind + "List")
		if err := here.Client.List(ctx, objects); err != nil {
			return err
		}
		var wanted v1.FluxReconcilerStats
		for _, obj := range objects.Items {
			if suspended, _, _ := unstructured.NestedBool(obj.Object, "spec", "suspend"); suspended || obj.GetAnnotations()[v1.ReconcileAnnotation] == "disabled" {
				wanted.Suspended++
				continue
			}
			wanted.Running++
			if isFailing(&obj) {
				wanted.Failing++
			}
		}
		wanted.TotalSize = reconciler.Stats.TotalSize
		if reconciler.Stats != wanted {
			return fmt.Errorf("of %s the report has %+v, the cluster %+v", reconciler.Kind, reconciler.Stats, wanted)
		}
	}
	return nil
}

// isFailing tells whether an object is not ready for a reason of its own.
func isFailing(obj *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == meta.ReadyCondition && condition["status"] == "False" && condition["reason"] != meta.DependencyNotReadyReason
	})
}

// seriesOf is the series of an object among metrics, empty where there is none.
func seriesOf(metrics string, obj *unstructured.Unstructured) string {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "flux_resource_info{") && strings.Contains(line, `kind="`+obj.GetKind()+`"`) && strings.Contains(line, `,name="`+obj.GetName()+`"`) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// scraping reads the metrics of the replica that leads with the token of an account that may.
func scraping(ctx context.Context) func(context.Context) string {
	GinkgoHelper()
	const account = "report-reader"
	bearer := token(ctx, account)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-" + account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "flux-operator-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: account}},
	}
	must(here.Client.Create(ctx, binding))
	DeferCleanup(func(ctx context.Context) { must(here.Client.Delete(ctx, binding)) })
	var pod *corev1.Pod
	pod, err := here.OperatorPod(ctx)
	must(err)
	base := "https://" + forward(context.WithoutCancel(ctx), pod, metricsPort) // the forwarding outlives the node that began it
	return func(ctx context.Context) string {
		GinkgoHelper()
		return read(ctx, base+"/metrics", bearer)
	}
}

// output runs a command and returns what it prints.
func output(ctx context.Context, name string, args ...string) string {
	GinkgoHelper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"HOME=" + GinkgoT().TempDir()}
	out, err := cmd.Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		Fail(err.Error() + ": " + string(exit.Stderr))
	}
	must(err)
	return string(out)
}
