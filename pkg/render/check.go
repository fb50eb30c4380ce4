package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// checkInstance makes sure of what the API server checks too, so that a file on disk is judged like an object in a cluster, and of
// what a schema cannot express.
func checkInstance(instance *v1.FluxInstance) error {
	spec := instance.Spec
	cluster := instance.Cluster()
	checks := []error{
		check("metadata.namespace", instance.Namespace, validation.IsDNS1123Label(instance.Namespace)),
		check("metadata.name", instance.Name, validation.IsDNS1123Subdomain(instance.Name)),
		oneOf("spec.cluster.type", cluster.Type, "kubernetes", "openshift", "aws", "azure", "gcp"),
		oneOf("spec.cluster.size", cluster.Size, "", "small", "medium", "large"),
		check("spec.cluster.domain", cluster.Domain, validation.IsDNS1123Subdomain(strings.TrimSuffix(cluster.Domain, "."))),
		checkName("spec.distribution.imagePullSecret", spec.Distribution.ImagePullSecret),
		checkName("spec.cluster.tenantDefaultServiceAccount", cluster.TenantDefaultServiceAccount),
		checkName("spec.cluster.tenantDefaultDecryptionServiceAccount", cluster.TenantDefaultDecryptionServiceAccount),
		checkName("spec.cluster.tenantDefaultKubeConfigServiceAccount", cluster.TenantDefaultKubeConfigServiceAccount),
		checkCommonMetadata(spec.CommonMetadata),
		checkStorage(spec.Storage),
		checkSharding(instance),
		checkSync(instance),
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// check turns the findings of a Kubernetes validator into an error.
func check(field, value string, findings []string) error {
	if len(findings) == 0 {
		return nil
	}
	return &FieldError{Field: field, Problem: fmt.Sprintf("%q cannot be used", value), Cure: strings.Join(findings, "; ")}
}

// checkName checks an optional name of another object.
func checkName(field, value string) error {
	if value == "" {
		return nil
	}
	return check(field, value, validation.IsDNS1123Subdomain(value))
}

func oneOf(field, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	choices := slices.DeleteFunc(slices.Clone(allowed), func(choice string) bool { return choice == "" })
	return &FieldError{Field: field, Problem: fmt.Sprintf("%q is not known", value), Cure: "choose from " + strings.Join(choices, ", ")}
}

func checkCommonMetadata(metadata *v1.CommonMetadata) error {
	if metadata == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(metadata.Labels)) {
		field := fmt.Sprintf("spec.commonMetadata.labels[%s]", key)
		if key == v1.OwnerNameLabel || key == v1.OwnerNamespaceLabel {
			return &FieldError{Field: field, Problem: "the operator finds its objects by this label", Cure: "remove it"}
		}
		if err := check(field, key, validation.IsQualifiedName(key)); err != nil {
			return err
		}
		if err := check(field, metadata.Labels[key], validation.IsValidLabelValue(metadata.Labels[key])); err != nil {
			return err
		}
	}
	if err := apivalidation.ValidateAnnotationsSize(metadata.Annotations); err != nil {
		return &FieldError{Field: "spec.commonMetadata.annotations", Problem: "they cannot be used", Err: err, Cure: "shorten them"}
	}
	for _, key := range slices.Sorted(maps.Keys(metadata.Annotations)) {
		field := fmt.Sprintf("spec.commonMetadata.annotations[%s]", key)
		if err := check(field, key, validation.IsQualifiedName(strings.ToLower(key))); err != nil {
			return err
		}
	}
	return nil
}

func checkStorage(storage *v1.Storage) error {
	if storage == nil {
		return nil
	}
	if err := checkName("spec.storage.class", storage.Class); err != nil {
		return err
	}
	size, err := resource.ParseQuantity(storage.Size)
	if err != nil || size.Sign() <= 0 {
		return &FieldError{Field: "spec.storage.size", Problem: fmt.Sprintf("%q is no amount of storage", storage.Size),
			Cure: "write it like 10Gi", Err: err}
	}
	return nil
}

func checkSharding(instance *v1.FluxInstance) error {
	sharding := instance.Spec.Sharding
	if sharding == nil {
		return nil
	}
	if err := oneOf("spec.sharding.storage", sharding.Storage, "", shardsEphemeral, shardsPersistent); err != nil {
		return err
	}
	if sharding.Storage == shardsPersistent && instance.Spec.Storage == nil {
		return &FieldError{Field: "spec.sharding.storage", Problem: "persistent shards need volumes and spec.storage is not there",
			Cure: "set spec.storage with class and size"}
	}
	if err := check("spec.sharding.key", shardingKey(sharding), validation.IsQualifiedName(shardingKey(sharding))); err != nil {
		return err
	}
	if len(sharding.Shards) == 0 {
		return &FieldError{Field: "spec.sharding.shards", Problem: "there is none", Cure: "name at least one or remove spec.sharding"}
	}
	for i, shard := range sharding.Shards {
		field := fmt.Sprintf("spec.sharding.shards[%d]", i)
		if err := check(field, shard, validation.IsDNS1123Label(string(v1.ImageAutomationController)+"-"+shard)); err != nil {
			return err
		}
		if err := check(field, shard, validation.IsDNS1123Label(shard)); err != nil {
			return err
		}
		if slices.Contains(sharding.Shards[:i], shard) {
			return &FieldError{Field: field, Problem: fmt.Sprintf("%q is named twice", shard), Cure: "name each shard once"}
		}
	}
	return nil
}

func checkSync(instance *v1.FluxInstance) error {
	sync := instance.Spec.Sync
	if sync == nil {
		return nil
	}
	if err := oneOf("spec.sync.kind", sync.Kind, gitRepositoryKind, ociRepositoryKind, bucketKind); err != nil {
		return err
	}
	if err := oneOf("spec.sync.provider", sync.Provider, "", genericProvider, "aws", "azure", "gcp", "github"); err != nil {
		return err
	}
	if err := checkProvider(sync); err != nil {
		return err
	}
	for _, required := range [][2]string{{"spec.sync.url", sync.URL}, {"spec.sync.ref", sync.Ref}} {
		if required[1] == "" {
			return &FieldError{Field: required[0], Problem: "it is empty", Cure: "set it"}
		}
	}
	if len(instance.SyncName()) > validation.DNS1123LabelMaxLength {
		return &FieldError{Field: "spec.sync.name", Problem: "it has more than 63 characters", Cure: "choose a shorter one"}
	}
	if err := check("spec.sync.name", instance.SyncName(), validation.IsDNS1123Subdomain(instance.SyncName())); err != nil {
		return err
	}
	return checkName("spec.sync.pullSecret", sync.PullSecret)
}

// checkProvider refuses what no release of Flux can do; what a release cannot do yet, its own definitions tell.
func checkProvider(sync *v1.Sync) error {
	const field = "spec.sync.provider"
	isGit := sync.Kind == gitRepositoryKind
	switch {
	case sync.Provider == "gcp" && isGit:
		return &FieldError{Field: field, Problem: "gcp works with kind OCIRepository or Bucket only", Cure: "choose another provider or kind"}
	case sync.Provider == "github" && !isGit:
		return &FieldError{Field: field, Problem: "github works with kind GitRepository only", Cure: "choose another provider or kind"}
	}
	return nil
}
