package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/test/testbed/definitions"
)

const synced = head + "spec:\n  distribution: {version: 2.x, registry: ghcr.io/fluxcd}\n  components: [source-controller, kustomize-controller]\n" +
	"  sync: {kind: GitRepository, url: https://example.com/fleet.git, ref: refs/heads/main, path: clusters/a}\n"

var (
	testEnv      *envtest.Environment
	k8s          client.Client
	kubeconfig   string
	distribution string
)

func TestDiff(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Diff")
}

var _ = BeforeSuite(func() {
	Expect(os.Getenv("KUBEBUILDER_ASSETS")).NotTo(BeEmpty(), "KUBEBUILDER_ASSETS names the folder with etcd and kube-apiserver: run this suite with make test-unit")
	distribution = os.Getenv("DISTRIBUTION_DIR")
	Expect(distribution).NotTo(BeEmpty(), "DISTRIBUTION_DIR names the generated distribution: run this suite with make test-unit")
	testEnv = &envtest.Environment{}
	config, err := testEnv.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(testEnv.Stop()).To(Succeed()) })
	nudging, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	Expect(definitions.Nudge(nudging, config, GinkgoWriter.Printf)).To(Succeed())
	scheme := runtime.NewScheme()
	Expect(clientscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1.AddToScheme(scheme)).To(Succeed())
	k8s, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	kubeconfig = filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	user, err := testEnv.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	Expect(err).NotTo(HaveOccurred())
	content, err := user.KubeConfig()
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(kubeconfig, content, 0o600)).To(Succeed())
})

// diffInput runs the command and returns what it prints and the exit code of the process.
func diffInput(input string, args ...string) (out string, code int, err error) {
	root := newRootCommand()
	var stdout bytes.Buffer
	root.SetIn(strings.NewReader(input))
	root.SetOut(&stdout)
	root.SetErr(GinkgoWriter)
	root.SetArgs(append([]string{"diff", "instance", "-f", "-", "--distribution", distribution, "--kubeconfig", kubeconfig}, args...))
	cmd, err := root.ExecuteC()
	return stdout.String(), exitCode(cmd, err), err
}

// actions returns how often each action is printed.
func actions(out string) map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(out) {
		counts[strings.Fields(line)[0]]++
	}
	return counts
}

func setOf(ctx context.Context) *render.Set {
	instance, err := readInstance(ctx, []byte(synced), v1.DefaultNamespace)
	Expect(err).NotTo(HaveOccurred())
	catalog, err := artifact.Builtin(distribution)
	Expect(err).NotTo(HaveOccurred())
	set, err := buildSet(catalog, instance, known{})
	Expect(err).NotTo(HaveOccurred())
	return set
}

// install does what the operator does, and writes down the same.
func install(ctx context.Context, set *render.Set, beside ...*corev1.ConfigMap) {
	GinkgoHelper()
	for _, obj := range set.Objects {
		Eventually(func() error {
			return k8s.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()), client.ForceOwnership, client.FieldOwner(v1.FieldManager))
		}, 30*time.Second, 100*time.Millisecond).Should(Succeed())
	}
	_, err := envtest.InstallCRDs(testEnv.Config, envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true, MaxTime: time.Minute})
	Expect(err).NotTo(HaveOccurred())
	instance, err := readInstance(ctx, []byte(synced), v1.DefaultNamespace)
	Expect(err).NotTo(HaveOccurred())
	Expect(k8s.Create(ctx, instance)).To(Succeed())
	instance.Status.LastAppliedRevision = set.Revision.String()
	instance.Status.Inventory = inventory.Of(set.Objects).ToStatus()
	for _, obj := range beside {
		Expect(k8s.Create(ctx, obj)).To(Succeed())
		id := obj.Namespace + "_" + obj.Name + "__ConfigMap"
		instance.Status.Inventory.Entries = append(instance.Status.Inventory.Entries, v1.ResourceRef{ID: id, Version: "v1"})
	}
	Expect(k8s.Status().Update(ctx, instance)).To(Succeed())
}

func metadata(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: v1.DefaultNamespace}
}

// own marks an object as the instance's.
func own(obj client.Object) {
	obj.SetLabels(map[string]string{v1.OwnerNameLabel: v1.DefaultInstanceName, v1.OwnerNamespaceLabel: v1.DefaultNamespace})
}

var _ = Describe("diff instance", Ordered, func() {
	It("shows an empty cluster that everything would be created, and creates nothing", func(ctx SpecContext) {
		out, code, err := diffInput(synced)
		Expect(err).To(MatchError(errDifferent))
		Expect(code).To(Equal(1))
		Expect(actions(out)).To(Equal(map[string]int{"create": len(setOf(ctx).Objects)}))
		Expect(out).To(HavePrefix("create    Namespace/flux-system\n"))
		Expect(out).To(ContainSubstring("create    GitRepository/flux-system/flux-system\n"))
		Expect(out).To(ContainSubstring("create    Deployment/flux-system/source-controller\n"))
		Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKey{Name: v1.DefaultNamespace}, &corev1.Namespace{}))).To(BeTrue())
	})

	It("finds nothing to change in what the operator installed", func(ctx SpecContext) {
		kept := &corev1.ConfigMap{ObjectMeta: metadata("kept")}
		own(kept)
		kept.Annotations = map[string]string{v1.PruneAnnotation: v1.DisabledValue}
		foreign := &corev1.ConfigMap{ObjectMeta: metadata("foreign")}
		set := setOf(ctx)
		install(ctx, set, kept, foreign)
		out, code, err := diffInput(synced, "--unified")
		Expect(err).NotTo(HaveOccurred())
		Expect(code).To(Equal(0))
		Expect(actions(out)).To(Equal(map[string]int{"unchanged": len(set.Objects)}))
	})

	It("shows drift, line by line on request", func(ctx SpecContext) {
		deployment := &appsv1.Deployment{ObjectMeta: metadata("source-controller")}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
		deployment.Spec.Template.Spec.Containers[0].Image = "example.com/other:v1"
		Expect(k8s.Update(ctx, deployment)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { repair(ctx, setOf(ctx)) })

		out, code, _ := diffInput(synced)
		Expect(code).To(Equal(1))
		Expect(actions(out)).To(Equal(map[string]int{"configure": 1, "unchanged": len(setOf(ctx).Objects) - 1}))
		out, code, _ = diffInput(synced, "--unified")
		Expect(code).To(Equal(1))
		Expect(out).To(ContainSubstring("configure Deployment/flux-system/source-controller\n--- live/Deployment/flux-system/source-controller\n+++ wanted/"))
		Expect(out).To(MatchRegexp(`(?m)^-.*image: example.com/other:v1\n`))
		Expect(out).To(MatchRegexp(`(?m)^\+.*image: ghcr.io/fluxcd/source-controller:v1`))
		Expect(out).NotTo(ContainSubstring("managedFields"))
		live := &appsv1.Deployment{}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), live)).To(Succeed())
		Expect(live.ResourceVersion).To(Equal(deployment.ResourceVersion), "a dry run changed the cluster")
	})

	It("shows no difference in fields that others manage", func(ctx SpecContext) {
		deployment := &appsv1.Deployment{ObjectMeta: metadata("source-controller")}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
		deployment.Spec.Template.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = resource.MustParse("3Gi")
		deployment.Spec.Template.Spec.Containers[0].Image = "example.com/other:v1"
		Expect(k8s.Update(ctx, deployment)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { repair(ctx, setOf(ctx)) })

		out, _, _ := diffInput(synced, "--unified")
		Expect(out).To(MatchRegexp(`(?m)^-.*memory: 3Gi\n`))
		out, code, _ := diffInput(synced+`
  kustomize:
    patches:
    - target: {kind: Deployment, name: source-controller}
      patch: |
        - {op: add, path: /metadata/annotations/fluxcd.controlplane.io~1ignoreFields, value: /spec/template/spec/containers/0/resources}
`, "--unified")
		Expect(code).To(Equal(1))
		Expect(out).To(ContainSubstring("configure Deployment/flux-system/source-controller\n"))
		Expect(out).To(MatchRegexp(`(?m)^\+.*ignoreFields: `))
		Expect(out).To(MatchRegexp(`(?m)^-.*image: example.com/other:v1\n`))
		Expect(out).NotTo(MatchRegexp(`(?m)^[-+].*memory`))
	})

	It("renders for OpenShift where the cluster is one", func(ctx SpecContext) {
		typeOf := func(ctx context.Context) (string, error) {
			target, err := (&clusterFlags{kubeconfig: kubeconfig}).connect(time.Minute, GinkgoWriter)
			if err != nil {
				return "", err
			}
			return target.kind(ctx)
		}
		Expect(typeOf(ctx)).To(BeEmpty())
		constraints := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: "constraints." + render.OpenShiftGroup},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: render.OpenShiftGroup, Scope: apiextensionsv1.ClusterScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "constraints", Kind: "Constraint"},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
					OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"},
				}}},
			},
		}
		installed, err := envtest.InstallCRDs(testEnv.Config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{constraints}, MaxTime: time.Minute})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) {
			Expect(envtest.UninstallCRDs(testEnv.Config, envtest.CRDInstallOptions{CRDs: installed})).To(Succeed())
			Eventually(typeOf).WithContext(ctx).WithTimeout(time.Minute).Should(BeEmpty())
		})
		Eventually(typeOf).WithContext(ctx).WithTimeout(time.Minute).Should(Equal("openshift"))
	})

	It("shows what would be deleted, without the values of Secrets", func(ctx SpecContext) {
		secret := &corev1.Secret{ObjectMeta: metadata("old"), StringData: map[string]string{"password": "hunter2"}}
		own(secret)
		secret.Annotations = map[string]string{lastApplied: `{"stringData":{"password":"hunter2"}}`}
		Expect(k8s.Create(ctx, secret)).To(Succeed())
		instance := &v1.FluxInstance{}
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: v1.DefaultNamespace, Name: v1.DefaultInstanceName}, instance)).To(Succeed())
		instance.Status.Inventory.Entries = append(instance.Status.Inventory.Entries, v1.ResourceRef{ID: v1.DefaultNamespace + "_old__Secret", Version: "v1"})
		Expect(k8s.Status().Update(ctx, instance)).To(Succeed())

		fewer, _, _ := strings.Cut(strings.Replace(synced, ", kustomize-controller", "", 1), "  sync:")
		out, code, _ := diffInput(fewer, "--unified")
		Expect(code).To(Equal(1))
		Expect(out).To(ContainSubstring("delete    Deployment/flux-system/kustomize-controller\n"))
		Expect(out).To(ContainSubstring("delete    Secret/flux-system/old\n"))
		Expect(out).To(ContainSubstring("-  password: (hidden, before)\n"))
		Expect(out).NotTo(Or(ContainSubstring("hunter2"), ContainSubstring("aHVudGVyMg"), ContainSubstring("ConfigMap/flux-system/kept"), ContainSubstring("ConfigMap/flux-system/foreign")))
	})

	It("changes nothing for a disabled instance", func() {
		out, code, err := diffInput(strings.Replace(synced, "  name: flux\n", "  name: flux\n  annotations: {"+v1.ReconcileAnnotation+": disabled}\n", 1))
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(BeEmpty())
		Expect(code).To(Equal(0))
	})

	DescribeTable("ends with 2 when there is an error", func(input, says string, args ...string) {
		out, code, err := diffInput(input, args...)
		Expect(err).To(MatchError(ContainSubstring(says)))
		Expect(code).To(Equal(2))
		Expect(out).To(BeEmpty())
	},
		Entry("in the file", "kind: Secret\n", "FluxInstance"),
		Entry("in the flags", synced, "unknown flag", "--nothing"),
		Entry("in the timeout", synced, "--timeout", "--timeout", "0s"),
		Entry("in time", synced, "--timeout 1ns", "--timeout", "1ns"),
		Entry("in the context", synced, "elsewhere", "--context", "elsewhere"),
		Entry("in the kubeconfig", synced, "absent", "--kubeconfig", "absent"),
		Entry("in the distribution", synced, "make distribution", "--distribution", "absent"),
		Entry("of going back", strings.Replace(synced, "2.x", "2.5.x", 1), "older minor", "--distribution", releases),
	)

	It("shows what it found out beside an error", func() {
		refused := synced + "  kustomize: {patches: [{target: {kind: Deployment, name: source-controller}, " +
			"patch: '[{op: replace, path: /spec/selector/matchLabels/app, value: other}, {op: replace, path: /spec/template/metadata/labels/app, value: other}]'}]}\n"
		out, code, err := diffInput(refused)
		Expect(err).To(MatchError(And(ContainSubstring("Deployment/flux-system/source-controller"), ContainSubstring("immutable"))))
		Expect(code).To(Equal(2))
		Expect(out).To(ContainSubstring("unchanged Namespace/flux-system\n"))
	})
})

// repair puts drift back.
func repair(ctx context.Context, set *render.Set) {
	for _, obj := range set.Objects {
		Expect(k8s.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()), client.ForceOwnership, client.FieldOwner(v1.FieldManager))).To(Succeed())
	}
}

func TestExitCode(t *testing.T) {
	root := newRootCommand()
	root.SetArgs([]string{"diff", "nothing"})
	cmd, err := root.ExecuteC()
	if code := exitCode(cmd, err); err == nil || code != 2 {
		t.Errorf("diff nothing ends with %d, %v", code, err)
	}
	if code := exitCode(root, errors.New("wrong")); code != 1 {
		t.Errorf("other commands fail with %d", code)
	}
}

func TestSecretsAreHidden(t *testing.T) {
	secret := func(data any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "a"}, "data": data,
		}}
	}
	before := secret(map[string]any{"same": "c2VjcmV0", "changed": "c2VjcmV0", "gone": "c2VjcmV0"})
	after := secret(map[string]any{"same": "c2VjcmV0", "changed": "T1RIRVI=", "new": "T1RIRVI="})
	var out bytes.Buffer
	if err := writeUnified(&out, change{action: configure, object: after, before: before, after: after}); err != nil {
		t.Fatal(err)
	}
	want := `--- live/Secret/a
+++ wanted/Secret/a
@@ -1,7 +1,7 @@
 apiVersion: v1
 data:
-  changed: (hidden, before)
-  gone: (hidden, before)
+  changed: (hidden, after)
+  new: (hidden, after)
   same: (hidden)
 kind: Secret
 metadata:
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := writeUnified(&out, change{action: create, object: after, after: secret("c2VjcmV0")}); err != nil || strings.Contains(out.String(), "c2Vj") {
		t.Errorf("data that is no map is shown: %v\n%s", err, out.String())
	}
}
