package e2e

import (
	"context"
	"fmt"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// firstUser is the first of the users that OpenShift has set aside for a namespace.
	firstUser = 1000660000

	enforceLabel = "pod-security.kubernetes.io/enforce"
	warnLabel    = "pod-security.kubernetes.io/warn"
)

// securityContextConstraint does to the pods of Flux's namespace what OpenShift's constraint "restricted-v2" does to those of ordinary
// service accounts: it fills in the namespace's user and group and the runtime's filter of system calls where a pod does not say it, and
// refuses pods that say something else. Pods of service accounts that may use "anyuid" are left as they are, for OpenShift prefers that
// one, unless they require restricted-v2. SELinux is left out: this machine may not have it.
const securityContextConstraint = `
apiVersion: admissionregistration.k8s.io/%[1]s
kind: MutatingAdmissionPolicy
metadata: {name: restricted-v2}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[2]s}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions:
  - name: no-other-constraint
    expression: |
      object.metadata.?annotations["openshift.io/required-scc"].orValue("") == "restricted-v2" ||
      !authorizer.serviceAccount("%[2]s", object.spec.?serviceAccountName.orValue("default"))
        .group("security.openshift.io").resource("securitycontextconstraints").name("anyuid").check("use").allowed()
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: |
        Object{spec: Object.spec{
          securityContext: Object.spec.securityContext{
            fsGroup: object.spec.?securityContext.?fsGroup.orValue(%[3]d),
            seccompProfile: Object.spec.securityContext.seccompProfile{
              type: object.spec.?securityContext.?seccompProfile.?type.orValue("RuntimeDefault")
            }
          },
          containers: object.spec.containers.map(c, Object.spec.containers{
            name: c.name,
            securityContext: Object.spec.containers.securityContext{
              allowPrivilegeEscalation: c.?securityContext.?allowPrivilegeEscalation.orValue(false),
              runAsNonRoot: c.?securityContext.?runAsNonRoot.orValue(true),
              runAsUser: c.?securityContext.?runAsUser.orValue(object.spec.?securityContext.?runAsUser.orValue(%[3]d))
            }
          })
        }}
---
apiVersion: admissionregistration.k8s.io/%[1]s
kind: MutatingAdmissionPolicyBinding
metadata: {name: restricted-v2}
spec: {policyName: restricted-v2}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: restricted-v2}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[2]s}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions:
  - name: no-other-constraint
    expression: |
      object.metadata.?annotations["openshift.io/required-scc"].orValue("") == "restricted-v2" ||
      !authorizer.serviceAccount("%[2]s", object.spec.?serviceAccountName.orValue("default"))
        .group("security.openshift.io").resource("securitycontextconstraints").name("anyuid").check("use").allowed()
  validations:
  - expression: object.spec.securityContext.fsGroup == %[3]d
    message: "restricted-v2: .spec.securityContext.fsGroup is not an allowed group"
  - expression: object.spec.containers.all(c, c.securityContext.runAsUser >= %[3]d && c.securityContext.runAsUser < %[3]d + 10000)
    message: "restricted-v2: runAsUser is not in the range of the namespace"
  - expression: |
      object.spec.securityContext.seccompProfile.type == "RuntimeDefault" &&
      object.spec.containers.all(c, c.securityContext.?seccompProfile.?type.orValue("RuntimeDefault") == "RuntimeDefault")
    message: "restricted-v2: seccomp profiles other than RuntimeDefault are not allowed"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: restricted-v2}
spec: {policyName: restricted-v2, validationActions: [Deny]}
`

// constraintsDefinition makes the API server serve the group that constraints are in, by which a cluster is known to be OpenShift.
const constraintsDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: securitycontextconstraints.security.openshift.io}
spec:
  group: security.openshift.io
  names: {kind: SecurityContextConstraints, listKind: SecurityContextConstraintsList, plural: securitycontextconstraints, singular: securitycontextconstraints}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// mutatingPolicies are arguments for API servers that would not serve MutatingAdmissionPolicies by themselves.
func mutatingPolicies() []string {
	return []string{
		"--feature-gates=MutatingAdmissionPolicy=true",
		"--runtime-config=admissionregistration.k8s.io/v1beta1=true,admissionregistration.k8s.io/v1alpha1=true",
	}
}

func onOpenShift() {
	var elsewhere corev1.PodSpec // how the pods of source-controller are anywhere else

	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		elsewhere = get(ctx, key("source-controller"), &appsv1.Deployment{}).Spec.Template.Spec
		offerVolumes(ctx, 1)
		DeferCleanup(asInReadme)
		asOnOpenShift(ctx, elsewhere)
	})

	It("would be refused with the settings of other clusters", func(ctx context.Context) {
		err := tryPod(ctx, elsewhere)
		Expect(apierrors.IsInvalid(err) || apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(ContainSubstring("restricted-v2: .spec.securityContext.fsGroup")))
	})

	It("would leave those that are cluster-admin as they are, and then refuse them", func(ctx context.Context) {
		confined := get(ctx, key("source-controller"), &appsv1.Deployment{}).Spec.Template.Spec
		confined.SecurityContext = nil
		confined.Containers[0].SecurityContext.RunAsNonRoot, confined.Containers[0].SecurityContext.SeccompProfile = nil, nil
		must(tryPod(ctx, confined))
		confined.ServiceAccountName, confined.DeprecatedServiceAccount = "kustomize-controller", ""
		Expect(tryPod(ctx, confined)).To(MatchError(And(ContainSubstring("violates PodSecurity"), ContainSubstring("runAsNonRoot"))))
	})

	It("runs as the user that the platform chooses, on a volume", func(ctx context.Context) {
		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Cluster.Type = "openshift"
			i.Spec.Storage = storage()
		})
		checkConditions(ready(ctx))
		exactInventory(ctx)
		deploymentsAvailable(ctx, defaultControllers()...)
		namespace := get(ctx, client.ObjectKey{Name: site.Namespace}, &corev1.Namespace{})
		Expect(namespace.Labels).To(HaveKeyWithValue(enforceLabel, "restricted"))
		Expect(namespace.Labels).NotTo(HaveKey(warnLabel))
		for _, controller := range defaultControllers() {
			for _, pod := range podsOf(ctx, controller) {
				Expect(*pod.Spec.SecurityContext.FSGroup).To(BeEquivalentTo(firstUser), pod.Name)
				Expect(pod.Status.ContainerStatuses[0].RestartCount).To(BeZero(), pod.Name)
				runsConfined(&pod, firstUser)
			}
		}
	})

	It("is found out where the instance does not say it", func(ctx context.Context) {
		definition := parse(constraintsDefinition)[0]
		must(here.Apply(ctx, definition))
		DeferCleanup(func(ctx context.Context) { must(here.Delete(ctx, soonLimit, definition)) })
		eventually(ctx, soonLimit, "the group of OpenShift's constraints to be served", func(ctx context.Context) error {
			constraints := &metav1.PartialObjectMetadataList{}
			constraints.SetGroupVersionKind(schema.GroupVersionKind{Group: "security.openshift.io", Version: "v1", Kind: "SecurityContextConstraintsList"})
			return here.Client.List(ctx, constraints)
		})
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Cluster = nil })
		checkConditions(ready(ctx))
		deploymentsAvailable(ctx, defaultControllers()...)
		for _, controller := range defaultControllers() {
			for _, pod := range podsOf(ctx, controller) {
				runsConfined(&pod, firstUser)
			}
		}
		eventually(ctx, soonLimit, "the report to say what was found, for the operator's next start", func(ctx context.Context) error {
			found := &v1.FluxReport{}
			if err := here.Client.Get(ctx, key(v1.DefaultInstanceName), found); err != nil {
				return err
			}
			if found.Spec.Cluster == nil || found.Spec.Cluster.Type != "openshift" {
				return fmt.Errorf("it says %+v", found.Spec.Cluster)
			}
			return nil
		})
	})

	It("stores and deploys as that user", func(ctx context.Context) {
		ready(ctx)
		requestSync(ctx)
		stored := storedBy(ctx, fluxReady(ctx, ofSync("GitRepository")).Artifact, "source-controller")
		owner, ok := stored.info.Sys().(*syscall.Stat_t)
		Expect(ok).To(BeTrue())
		Expect(owner.Uid).To(BeEquivalentTo(firstUser))

		config := get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{})
		must(here.Client.Delete(ctx, config))
		handled(ctx, ofSync("Kustomization"))
		Expect(get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{}).UID).NotTo(Equal(config.UID))
	})

	It("runs the operator itself as such a user, which remembers what it found", func(ctx context.Context) {
		ready(ctx)
		pod, err := here.OperatorPod(ctx)
		must(err)
		must(here.Delete(ctx, soonLimit, pod))
		eventually(ctx, installLimit, "the operator to run in another pod", func(ctx context.Context) error {
			if pod, err = here.OperatorPod(ctx); err != nil {
				return err
			}
			return same(len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].Ready, true)
		})
		runsConfined(pod, firstUser)
		eventually(ctx, installLimit, "the operator to lead", func(ctx context.Context) error { return leads(ctx, pod) })
		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"by": "restricted"}}
		})
		ready(ctx)
		Expect(get(ctx, key("source-controller"), &appsv1.Deployment{}).Labels).To(HaveKeyWithValue("by", "restricted"))
	})
}

// asOnOpenShift makes Flux's namespace one of OpenShift until the end of the container. The pod is one that is admitted elsewhere.
func asOnOpenShift(ctx context.Context, elsewhere corev1.PodSpec) {
	GinkgoHelper()
	mapping, err := here.Client.RESTMapper().RESTMapping(
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicy"}, "v1", "v1beta1", "v1alpha1")
	must(err)
	must(tryPod(ctx, elsewhere))
	policies := parse(fmt.Sprintf(securityContextConstraint, mapping.GroupVersionKind.Version, site.Namespace, firstUser))
	labelNamespace(ctx, enforceLabel, "restricted")
	DeferCleanup(func(ctx context.Context) {
		labelNamespace(ctx, enforceLabel, "")
		for _, policy := range policies {
			must(here.Delete(ctx, soonLimit, policy))
		}
		eventually(ctx, soonLimit, "other pods to be admitted again", func(ctx context.Context) error { return tryPod(ctx, elsewhere) })
	})
	for _, policy := range policies {
		must(here.Apply(ctx, policy))
	}
	eventually(ctx, soonLimit, "other pods to be refused", func(ctx context.Context) error {
		if err := tryPod(ctx, elsewhere); err == nil {
			return fmt.Errorf("a pod with group %d was admitted", *elsewhere.SecurityContext.FSGroup)
		}
		silent := elsewhere.DeepCopy()
		silent.SecurityContext = nil
		return tryPod(ctx, *silent)
	})
}

// tryPod asks the API server whether it would admit a pod in Flux's namespace.
func tryPod(ctx context.Context, spec corev1.PodSpec) error {
	return here.Client.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, GenerateName: "e2e-"}, Spec: spec}, client.DryRunAll)
}

// labelNamespace sets a label of Flux's namespace; an empty value takes it off.
func labelNamespace(ctx context.Context, label, value string) {
	GinkgoHelper()
	namespace := get(ctx, client.ObjectKey{Name: site.Namespace}, &corev1.Namespace{})
	before := namespace.DeepCopy()
	if value == "" {
		delete(namespace.Labels, label)
	} else {
		metav1.SetMetaDataLabel(&namespace.ObjectMeta, label, value)
	}
	must(here.Client.Patch(ctx, namespace, client.MergeFrom(before)))
}
