package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func sync(kind, provider string) *v1.Sync {
	return &v1.Sync{Kind: kind, URL: "https://git.example.com/fleet.git", Ref: "refs/heads/main", Path: "./", Provider: provider}
}

var _ = Describe("Admission of a FluxInstance", func() {
	DescribeTable("refuses, with a message that names the field",
		func(ctx SpecContext, breaking func(*v1.FluxInstance), words string) {
			err := k8s.Create(ctx, newInstance(breaking), client.DryRunAll)
			Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
			Expect(err).To(MatchError(ContainSubstring(words)))
		},
		Entry("another name", func(in *v1.FluxInstance) { in.Name = "fluxx" }, "'flux'"),
		Entry("no version", func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "" }, "spec.distribution.version"),
		Entry("no registry", func(in *v1.FluxInstance) { in.Spec.Distribution.Registry = "" }, "spec.distribution.registry"),
		Entry("an unknown variant", func(in *v1.FluxInstance) { in.Spec.Distribution.Variant = "upstream" }, "spec.distribution.variant"),
		Entry("an artifact that is no OCI address", func(in *v1.FluxInstance) { in.Spec.Distribution.Artifact = "https://x" }, "spec.distribution.artifact"),
		Entry("an unknown component", func(in *v1.FluxInstance) { in.Spec.Components = []v1.Component{"sink-controller"} }, "spec.components"),
		Entry("a component twice", func(in *v1.FluxInstance) {
			in.Spec.Components = []v1.Component{v1.SourceController, v1.SourceController}
		}, "spec.components"),
		Entry("an unknown cluster type", func(in *v1.FluxInstance) { in.Spec.Cluster.Type = "mainframe" }, "spec.cluster.type"),
		Entry("an unknown size", func(in *v1.FluxInstance) { in.Spec.Cluster.Size = "huge" }, "spec.cluster.size"),
		Entry("tenants' identities without object level", func(in *v1.FluxInstance) { in.Spec.Cluster.MultitenantWorkloadIdentity = true }, "objectLevelWorkloadIdentity"),
		Entry("no shards", func(in *v1.FluxInstance) { in.Spec.Sharding = &v1.Sharding{Shards: []string{}} }, "spec.sharding.shards"),
		Entry("a shard twice", func(in *v1.FluxInstance) { in.Spec.Sharding = &v1.Sharding{Shards: []string{"a", "a"}} }, "spec.sharding.shards"),
		Entry("a shard that is no DNS label", func(in *v1.FluxInstance) { in.Spec.Sharding = &v1.Sharding{Shards: []string{"../x"}} }, "spec.sharding.shards[0]"),
		Entry("a shard too long for its suffix", func(in *v1.FluxInstance) {
			in.Spec.Sharding = &v1.Sharding{Shards: []string{"a23456789012345678901234567890123456"}}
		}, "spec.sharding.shards[0]"),
		Entry("persistent shards without storage", func(in *v1.FluxInstance) {
			in.Spec.Sharding = &v1.Sharding{Shards: []string{"a"}, Storage: "persistent"}
		}, "spec.storage"),
		Entry("an unknown source", func(in *v1.FluxInstance) { in.Spec.Sync = sync("HelmRepository", "") }, "spec.sync.kind"),
		Entry("gcp for Git", func(in *v1.FluxInstance) { in.Spec.Sync = sync("GitRepository", "gcp") }, "gcp"),
		Entry("github for OCI", func(in *v1.FluxInstance) { in.Spec.Sync = sync("OCIRepository", "github") }, "github"),
		Entry("a long sync name", func(in *v1.FluxInstance) {
			in.Spec.Sync = sync("GitRepository", "")
			in.Spec.Sync.Name = "a234567890123456789012345678901234567890123456789012345678901234"
		}, "spec.sync.name"),
	)

	It("fills in defaults", func(ctx SpecContext) {
		instance := newInstance(func(in *v1.FluxInstance) {
			in.Spec.Cluster = &v1.Cluster{NetworkPolicy: true}
			in.Spec.Sync = sync("GitRepository", "")
			in.Spec.Sharding = &v1.Sharding{Shards: []string{"a"}}
		})
		Expect(k8s.Create(ctx, instance, client.DryRunAll)).To(Succeed())
		Expect(*instance.Spec.Wait).To(BeTrue())
		Expect(*instance.Spec.MigrateResources).To(BeTrue())
		Expect(instance.Spec.Cluster.Domain).To(Equal("cluster.local"))
		Expect(instance.Spec.Cluster.Type).To(Equal("kubernetes"))
		Expect(instance.Spec.Sync.Interval.Duration.String()).To(Equal("1m0s"))
		Expect(instance.Spec.Sharding.Key).To(Equal("sharding.fluxcd.io/key"))
	})

	DescribeTable("keeps the name of a sync",
		func(ctx SpecContext, before, after string) {
			stray := newInstance(func(in *v1.FluxInstance) {
				in.Namespace = metav1.NamespaceDefault // not acted upon
				in.Spec.Sync = sync("GitRepository", "")
				in.Spec.Sync.Name = before
			})
			Expect(k8s.Create(ctx, stray)).To(Succeed())
			DeferCleanup(func(ctx SpecContext) { Expect(k8s.Delete(ctx, stray)).To(Succeed()) })
			base := stray.DeepCopy()
			stray.Spec.Sync.Name = after
			err := k8s.Patch(ctx, stray.DeepCopy(), client.MergeFrom(base))
			Expect(err).To(MatchError(ContainSubstring("spec.sync.name is immutable")))
		},
		Entry("set to another", "one", "two"),
		Entry("unset to set", "", "two"),
		Entry("set to unset", "one", ""),
	)
})
