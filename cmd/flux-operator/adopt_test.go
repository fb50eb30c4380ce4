package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

const adoptedNamespace = "adopted"

const bootstrapped = `apiVersion: fluxcd.controlplane.io/v1
kind: FluxInstance
metadata: {name: flux, namespace: adopted}
spec:
  distribution: {version: 2.6.x, registry: ghcr.io/fluxcd}
  components: [source-controller, kustomize-controller]
  sync: {name: fleet, kind: GitRepository, url: "https://example.com/fleet.git", ref: refs/heads/main, path: ./clusters/a, pullSecret: fleet, interval: 2m}
`

// runAdopt runs the command and returns what it prints, and what it tells.
func runAdopt(input string, args ...string) (out, told string, err error) {
	root := newRootCommand()
	var stdout, stderr bytes.Buffer
	root.SetIn(strings.NewReader(input))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(append([]string{"adopt", "-n", adoptedNamespace, "--distribution", distribution, "--kubeconfig", kubeconfig}, args...))
	err = root.Execute()
	return stdout.String(), stderr.String(), err
}

// bootstrapInto installs what flux bootstrap leaves behind, and returns it.
func bootstrapInto(ctx context.Context) []*unstructured.Unstructured {
	GinkgoHelper()
	instance, err := readInstance(ctx, []byte(bootstrapped), adoptedNamespace)
	Expect(err).NotTo(HaveOccurred())
	catalog, err := artifact.Builtin(distribution)
	Expect(err).NotTo(HaveOccurred())
	set, err := buildSet(catalog, instance, known{})
	Expect(err).NotTo(HaveOccurred())
	for _, obj := range set.Objects {
		labels := obj.GetLabels()
		maps.DeleteFunc(labels, func(key, _ string) bool { return strings.HasPrefix(key, v1.Group) })
		labels["kustomize.toolkit.fluxcd.io/name"], labels["kustomize.toolkit.fluxcd.io/namespace"] = "fleet", adoptedNamespace
		obj.SetLabels(labels)
		obj.SetAnnotations(nil)
		switch obj.GetKind() {
		case "ServiceAccount":
			obj.SetAnnotations(map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"})
		case "GitRepository":
			Expect(unstructured.SetNestedMap(obj.Object, map[string]any{"branch": "main"}, "spec", "ref")).To(Succeed())
		}
		Eventually(func() error {
			return k8s.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()), client.ForceOwnership, client.FieldOwner("kustomize-controller"))
		}, 30*time.Second, 100*time.Millisecond).Should(Succeed())
	}
	return set.Objects
}

// cleanUp deletes what a test installed, so that others find the cluster empty.
func cleanUp(ctx context.Context, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	for _, obj := range objects {
		if obj.GetKind() != "Namespace" {
			Expect(client.IgnoreNotFound(k8s.Delete(ctx, obj))).To(Or(Succeed(), MatchError(apimeta.IsNoMatchError, "no match")))
		}
	}
	for _, obj := range objects {
		if obj.GetKind() == "CustomResourceDefinition" {
			Eventually(func() bool {
				return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj.DeepCopy()))
			}, 30*time.Second).Should(BeTrue())
		}
	}
}

var _ = Describe("adopt", Ordered, func() {
	var objects []*unstructured.Unstructured

	BeforeAll(func(ctx SpecContext) {
		out, _, err := runAdopt("", "--dry-run")
		Expect(err).To(MatchError(errNoFlux))
		Expect(out).To(BeEmpty())
		objects = bootstrapInto(ctx)
	})
	AfterAll(func(ctx SpecContext) { cleanUp(ctx, objects) })

	It("describes what runs, and reports beside it", func(ctx SpecContext) {
		out, told, err := runAdopt("", "--dry-run")
		Expect(err).NotTo(HaveOccurred())
		var printed, want v1.FluxInstance
		Expect(yaml.UnmarshalStrict([]byte(out), &printed)).To(Succeed())
		instance, err := readInstance(ctx, []byte(bootstrapped), adoptedNamespace)
		Expect(err).NotTo(HaveOccurred())
		want = *instance
		Expect(printed.Spec.Sync).To(Equal(want.Spec.Sync))
		Expect(printed.Spec.Distribution).To(Equal(want.Spec.Distribution))
		Expect(printed.Spec.Components).To(Equal(want.Spec.Components))
		Expect(printed.Spec.Cluster.NetworkPolicy).To(BeTrue())
		_, err = readInstance(ctx, []byte(out), adoptedNamespace)
		Expect(err).NotTo(HaveOccurred(), "what is printed is an instance that the API server takes")

		Expect(told).To(ContainSubstring("Flux v2.6."))
		Expect(told).To(MatchRegexp(`flux bootstrap, Kustomization adopted/fleet +\d+\n`))
		Expect(told).To(MatchRegexp(`ServiceAccount/adopted/source-controller +kustomize-controller +\.metadata\.annotations\[eks\.amazonaws\.com/role-arn\]`))
		Expect(told).NotTo(ContainSubstring(".spec.ref"))
		Expect(told).To(ContainSubstring("gotk-components.yaml"))
	})

	It("reports for a given instance, for machines", func(ctx SpecContext) {
		newer := strings.ReplaceAll(bootstrapped, "2.6.x", "2.9.x") + "  adoption: {collisions: Unowned}\n"
		for format, decode := range map[string]func([]byte, any) error{
			"json": json.Unmarshal, "yaml": func(content []byte, into any) error { return yaml.UnmarshalStrict(content, into) },
		} {
			out, _, err := runAdopt(newer, "--dry-run", "-f", "-", "-o", format)
			Expect(err).NotTo(HaveOccurred())
			var report v1.AdoptionStatus
			Expect(decode([]byte(out), &report)).To(Succeed())
			Expect(report.Version).To(HavePrefix("v2.6."))
			Expect(report.Refused).To(ContainElement("Deployment/adopted/source-controller"))
			Expect(report.Losses).To(HaveLen(2))
			Expect(report.Taken).To(BeFalse())
		}
		_, _, err := runAdopt(newer, "--dry-run", "-f", "-", "-o", "table")
		Expect(err).To(MatchError(ContainSubstring("--output")))
	})

	It("lists what managers would lose that the operator is told to take over from", func(ctx SpecContext) {
		account := &unstructured.Unstructured{}
		account.SetAPIVersion("v1")
		account.SetKind("ServiceAccount")
		account.SetNamespace(adoptedNamespace)
		account.SetName("source-controller")
		account.SetAnnotations(map[string]string{"example.com/cost-center": "12"})
		Expect(k8s.Apply(ctx, client.ApplyConfigurationFromUnstructured(account), client.FieldOwner("house-tool"))).To(Succeed())
		lost := MatchRegexp(`ServiceAccount/adopted/source-controller +house-tool +\.metadata\.annotations\[example\.com/cost-center\]`)

		out, _, err := runAdopt(bootstrapped, "--dry-run", "-f", "-")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).NotTo(lost)
		out, _, err = runAdopt(bootstrapped, "--dry-run", "-f", "-", "--override-manager", "other,house-tool")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(lost)
	})

	It("applies the instance and waits for the operator", func(ctx SpecContext) {
		_, err := envtest.InstallCRDs(testEnv.Config, envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true, MaxTime: time.Minute})
		Expect(err).NotTo(HaveOccurred())
		instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Name: v1.DefaultInstanceName, Namespace: adoptedNamespace}}
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, instance))).To(Succeed()) })

		By("running out of time without one")
		_, _, err = runAdopt(bootstrapped, "-f", "-", "--timeout", "5s")
		Expect(err).To(MatchError(And(ContainSubstring("--timeout 5s"), ContainSubstring("it goes on without this command"))))

		By("hearing that it does not go on")
		say := func(status metav1.ConditionStatus, reason, message string) {
			GinkgoHelper()
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
			instance.Status.Conditions = nil
			apimeta.SetStatusCondition(&instance.Status.Conditions, metav1.Condition{Type: "Ready", Status: status, Reason: reason, Message: message, ObservedGeneration: instance.Generation})
			if status == metav1.ConditionFalse {
				apimeta.SetStatusCondition(&instance.Status.Conditions, metav1.Condition{Type: "Stalled", Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: instance.Generation})
			}
			Expect(k8s.Status().Update(ctx, instance)).To(Succeed())
		}
		say(metav1.ConditionFalse, v1.ReasonPreflightFailed, "hands off")
		_, told, err := runAdopt(bootstrapped, "-f", "-")
		Expect(err).To(MatchError(ContainSubstring("PreflightFailed: hands off")))
		Expect(told).To(ContainSubstring("hands off"))

		By("succeeding")
		instance.Status.Adoption = &v1.AdoptionStatus{ObservedAt: metav1.Now(), Taken: true, Objects: 3, Tools: []v1.AdoptedTool{{Name: "flux install", Objects: 3}}}
		Expect(k8s.Status().Update(ctx, instance)).To(Succeed())
		say(metav1.ConditionTrue, v1.ReasonReconciliationSucceeded, "done")
		out, told, err := runAdopt(bootstrapped, "-f", "-")
		Expect(err).NotTo(HaveOccurred())
		Expect(told).To(Equal("done\n"))
		Expect(out).To(ContainSubstring("flux install"))

		By("leaving an instance alone that is there already")
		_, _, err = runAdopt("")
		Expect(err).To(MatchError(ContainSubstring("is there already")))
	})

	It("says that the operator goes on, also where the time is over before the first answer", func(ctx SpecContext) {
		over := errors.New("it is over")
		ending, end := context.WithCancelCause(ctx)
		target, err := (&clusterFlags{kubeconfig: kubeconfig}).connect(time.Minute, GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		target.client = interceptor.NewClient(target.client, interceptor.Funcs{Get: func(ctx context.Context, _ client.WithWatch, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			end(over)
			return ctx.Err()
		}})
		applied := &unstructured.Unstructured{}
		applied.SetNamespace(adoptedNamespace)
		applied.SetName(v1.DefaultInstanceName)
		_, err = await(ending, target, applied, GinkgoWriter)
		Expect(err).To(MatchError(over))
		Expect(err).To(MatchError(And(
			HavePrefix(`waiting for FluxInstance "flux": `), HaveSuffix("it goes on without this command: kubectl -n adopted get fluxinstance flux"))))
	})
})
