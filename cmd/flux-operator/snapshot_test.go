package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

var _ = Describe("snapshot", Ordered, func() {
	const namespace = "saved"

	snapshots := func(args ...string) (out, told string, err error) {
		root := newRootCommand()
		var stdout, stderr bytes.Buffer
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		root.SetArgs(append(append([]string{"snapshot"}, args...), "--kubeconfig", kubeconfig, "-n", namespace))
		err = root.Execute()
		return stdout.String(), stderr.String(), err
	}
	instance := func() *v1.FluxInstance {
		return &v1.FluxInstance{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1.DefaultInstanceName, Labels: map[string]string{"team": "a"}},
			Spec:       v1.FluxInstanceSpec{Distribution: v1.Distribution{Version: "2.9.x", Registry: "ghcr.io/fluxcd"}, Snapshots: &v1.Snapshots{Keep: new(int32(2))}},
		}
	}
	isBack := func(ctx SpecContext) {
		GinkgoHelper()
		live := &v1.FluxInstance{}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance()), live)).To(Succeed())
		Expect(live.Spec.Distribution).To(Equal(instance().Spec.Distribution))
		Expect(live.Labels).To(Equal(instance().Labels))
	}

	BeforeAll(func(ctx SpecContext) {
		GinkgoT().Setenv("DOCKER_CONFIG", GinkgoT().TempDir())
		_, err := envtest.InstallCRDs(testEnv.Config, envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true, MaxTime: time.Minute})
		Expect(err).NotTo(HaveOccurred())
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		live := instance()
		Expect(k8s.Create(ctx, live)).To(Succeed())
		live.Status.LastAppliedRevision = "v2.9.4@sha256:" + strings.Repeat("0", 64)
		Expect(k8s.Status().Update(ctx, live)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, instance()))).To(Succeed()) })
	})

	It("list says that there are none", func() {
		out, told, err := snapshots("list")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(BeEmpty())
		Expect(told).To(ContainSubstring("there are no snapshots in namespace saved"))
		Expect(first(snapshots("list", "-o", "json"))).To(Equal("[]\n"))
	})

	It("create saves in the cluster and keeps the newest, list shows them, restore puts back", func(ctx SpecContext) {
		var names []string
		for range 3 {
			out, told, err := snapshots("create")
			Expect(err).NotTo(HaveOccurred())
			Expect(out).To(HavePrefix("flux-snapshot-"))
			Expect(told).To(HavePrefix("saved "))
			names = append(names, strings.TrimSpace(out))
			begun := time.Now()
			Eventually(func() time.Duration { return time.Since(begun) }, 5*time.Second).Should(BeNumerically(">", time.Second), "their times tell them apart")
		}
		table := first(snapshots("list"))
		Expect(strings.Split(table, "\n")[0]).To(MatchRegexp(`^NAME +CREATED +FLUX +UPGRADE +OBJECTS +SIZE$`))
		Expect(strings.Split(table, "\n")[1]).To(MatchRegexp(`^` + names[2] + ` +\d{4}-.*Z +v2\.9\.4 +- +\d+ +.*B$`))
		Expect(table).NotTo(ContainSubstring(names[0]), "spec.snapshots.keep is 2")
		var listed []snapshot.Stored
		Expect(json.Unmarshal([]byte(first(snapshots("list", "-o", "json"))), &listed)).To(Succeed())
		Expect(listed).To(HaveLen(2))
		Expect(listed[0]).To(And(HaveField("Name", names[2]), HaveField("Operator", "flux-operator-cli/"+VERSION)))
		Expect(first(snapshots("list", "-o", "yaml"))).To(ContainSubstring("name: " + names[1]))

		Expect(k8s.Delete(ctx, instance())).To(Succeed())
		out := first(snapshots("restore", names[2], "--dry-run"))
		Expect(out).To(ContainSubstring("created    FluxInstance/saved/flux (dry run)\n"))
		Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(instance()), instance()))).To(BeTrue())
		Expect(first(snapshots("restore", names[2]))).To(ContainSubstring("created    FluxInstance/saved/flux\n"))
		isBack(ctx)
		Expect(first(snapshots("restore", names[2]))).To(ContainSubstring("unchanged  FluxInstance/saved/flux\n"))
	})

	It("goes into a file and comes back", func(ctx SpecContext) {
		file := filepath.Join(GinkgoT().TempDir(), "flux.snapshot")
		Expect(first(snapshots("create", "--to", file))).To(Equal(file + "\n"))
		_, _, err := snapshots("create", "--to", file)
		Expect(err).To(MatchError(And(ContainSubstring("--to"), ContainSubstring("exists"))))
		live := instance()
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(live), live)).To(Succeed())
		live.Spec.Distribution.Version = "2.8.x"
		live.Labels["more"] = "yes"
		Expect(k8s.Update(ctx, live)).To(Succeed())
		for _, flag := range []string{"--dry-run", "--dry-run=false"} {
			out := first(snapshots("restore", "--from", file, "--unified", flag))
			Expect(out).To(MatchRegexp(`(?s)configured FluxInstance/saved/flux( \(dry run\))?\n--- live/FluxInstance/saved/flux\n\+\+\+ wanted/FluxInstance/saved/flux\n`))
			Expect(out).To(And(ContainSubstring("\n-    more: \"yes\"\n"), ContainSubstring("\n-    version: 2.8.x\n+    version: 2.9.x\n")))
			Expect(out).NotTo(Or(ContainSubstring("resourceVersion"), ContainSubstring("managedFields"), ContainSubstring("status")))
		}
		isBack(ctx)
		live = instance()
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(live), live)).To(Succeed())
		live.Spec.Distribution.Version = "2.8.x"
		Expect(k8s.Update(ctx, live)).To(Succeed())
		out := first(snapshots("restore", "--from", file))
		Expect(out).To(ContainSubstring("configured FluxInstance/saved/flux\n"))
		Expect(out).NotTo(ContainSubstring("version:"), "without the flag there are no lines of it")
		out = first(snapshots("restore", "--from", file, "--unified"))
		Expect(out).To(ContainSubstring("unchanged  FluxInstance/saved/flux\n"))
		Expect(out).NotTo(ContainSubstring("+++"), "what is unchanged has no lines")
		content, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(file, content[:len(content)-20], 0o600)).To(Succeed())
		_, _, err = snapshots("restore", "--from", file)
		Expect(err).To(MatchError(ContainSubstring("not complete")))
	})

	It("goes into a registry and comes back", func(ctx SpecContext) {
		server, err := registry.Serve(ctx, registry.Options{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) { Expect(server.Close(ctx)).To(Succeed()) })
		address := "oci://" + server.Addr + "/flux/snapshots:today"
		out := first(snapshots("create", "--to", address, "--insecure"))
		Expect(out).To(HavePrefix(address + "@sha256:"))
		Expect(k8s.Delete(ctx, instance())).To(Succeed())
		Expect(first(snapshots("restore", "--from", strings.TrimSpace(out), "--insecure"))).To(ContainSubstring("created    FluxInstance/saved/flux\n"))
		isBack(ctx)
	})

	It("restore skips what nobody defines any more, puts back the rest, and fails in the end", func(ctx SpecContext) {
		crds := envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{widgets()}, MaxTime: time.Minute}
		_, err := envtest.InstallCRDs(testEnv.Config, crds)
		Expect(err).NotTo(HaveOccurred())
		widget := &unstructured.Unstructured{}
		widget.SetGroupVersionKind(schema.GroupVersionKind{Group: widgets().Spec.Group, Version: "v1", Kind: "Widget"})
		widget.SetNamespace(namespace)
		widget.SetName("a")
		Eventually(func() error { return k8s.Create(ctx, widget) }, 30*time.Second, 100*time.Millisecond).Should(Succeed())
		file := filepath.Join(GinkgoT().TempDir(), "flux.snapshot")
		first(snapshots("create", "--to", file))
		Expect(envtest.UninstallCRDs(testEnv.Config, crds)).To(Succeed())
		isGone(ctx, widgets().Name)

		By("looking, as long as the instance may bring it")
		Expect(k8s.Delete(ctx, instance())).To(Succeed())
		out, told, err := snapshots("restore", "--from", file, "--dry-run")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(ContainSubstring("created    Widget/saved/a (dry run)\n"))
		Expect(told).To(ContainSubstring("not served yet are Widget.new.toolkit.fluxcd.io:"))

		By("having an instance that is ready")
		live := instance()
		Expect(k8s.Create(ctx, live)).To(Succeed())
		live.Status.Conditions = []metav1.Condition{{
			Type: "Ready", Status: metav1.ConditionTrue, Reason: v1.ReasonReconciliationSucceeded, ObservedGeneration: live.Generation, LastTransitionTime: metav1.Now(),
		}}
		Expect(k8s.Status().Update(ctx, live)).To(Succeed())
		for flag, note := range map[string]string{"--dry-run": " (dry run)", "--dry-run=false": ""} {
			out, told, err := snapshots("restore", "--from", file, flag)
			Expect(out).To(And(ContainSubstring("unchanged  FluxInstance/saved/flux"+note+"\n"), ContainSubstring("skipped    Widget/saved/a"+note+"\n")))
			Expect(told).To(BeEmpty())
			Expect(err).To(MatchError(And(ContainSubstring("1 objects are passed over"), ContainSubstring("Widget.new.toolkit.fluxcd.io; install what defines them"))))
		}
	})

	DescribeTable("is refused", func(want string, args ...string) {
		_, _, err := snapshots(args...)
		Expect(err).To(MatchError(ContainSubstring(want)))
	},
		Entry("without a name", "write either the name", "restore"),
		Entry("with a name and a file", "write either the name", "restore", "a", "--from", "b"),
		Entry("with a name that is none", "there is none of that name", "restore", "nothing"),
		Entry("with no file", "--from", "restore", "--from", "/nonexistent"),
		Entry("with a malformed address", "--from", "restore", "--from", "oci://"),
		Entry("with an unknown format", "--output", "list", "-o", "xml"),
		Entry("without time", "--timeout", "list", "--timeout", "0s"),
	)
})

var _ = Describe("snapshot without the operator", func() {
	It("saves what is there, before the operator takes it over", func(ctx SpecContext) {
		crds := envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true, MaxTime: time.Minute}
		Expect(envtest.UninstallCRDs(testEnv.Config, crds)).To(Succeed())
		isGone(ctx, "fluxinstances."+v1.Group)
		isGone(ctx, "fluxreports."+v1.Group)

		root := newRootCommand()
		file := filepath.Join(GinkgoT().TempDir(), "flux.snapshot")
		root.SetArgs([]string{"snapshot", "create", "--to", file, "--kubeconfig", kubeconfig})
		root.SetOut(GinkgoWriter)
		Expect(root.Execute()).To(Succeed())
		content, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		reader, err := snapshot.NewReader(bytes.NewReader(content))
		Expect(err).NotTo(HaveOccurred())
		Expect(reader.Header().Flux).To(BeEmpty())
	})

	It("removes none of the snapshots in the cluster, for nobody said how many to keep", func(ctx SpecContext) {
		const namespace = "unmanaged"
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		kept := func(before int) {
			GinkgoHelper()
			for i := range v1.DefaultKeptSnapshots + 1 {
				root := newRootCommand()
				root.SetArgs([]string{"snapshot", "create", "--kubeconfig", kubeconfig, "-n", namespace})
				root.SetOut(GinkgoWriter)
				Expect(root.Execute()).To(Succeed())
				Expect(snapshot.NewStore(k8s, snapshot.Options{Namespace: namespace}).List(ctx)).To(HaveLen(before + i + 1))
			}
		}
		kept(0)

		By("having the kind, and no instance of it")
		_, err := envtest.InstallCRDs(testEnv.Config, envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true, MaxTime: time.Minute})
		Expect(err).NotTo(HaveOccurred())
		kept(v1.DefaultKeptSnapshots + 1)
	})
})

// widgets define a kind in a group of Flux that is not Flux's.
func widgets() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.new.toolkit.fluxcd.io"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "new.toolkit.fluxcd.io",
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Widget", ListKind: "WidgetList", Plural: "widgets", Singular: "widget"},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
}

// isGone waits until a definition is not there any more.
func isGone(ctx SpecContext, name string) {
	GinkgoHelper()
	Eventually(func() bool {
		crd := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}}
		return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKey{Name: name}, crd))
	}, time.Minute, 100*time.Millisecond).Should(BeTrue(), name)
}

// first returns the output of a call that has to succeed.
func first(out, _ string, err error) string {
	GinkgoHelper()
	Expect(err).NotTo(HaveOccurred())
	return out
}
