package apply

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// secretKind is the kind of Secrets.
var secretKind = schema.GroupKind{Kind: "Secret"}

// serverFields are the metadata fields that only the API server writes.
var serverFields = []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"}

// metadataOf returns an object that names obj and takes in nothing but metadata. Requests made with it have the API server answer with
// metadata only, which spares decoding whole CustomResourceDefinitions.
func metadataOf(obj *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(obj.GroupVersionKind())
	meta.SetNamespace(obj.GetNamespace())
	meta.SetName(obj.GetName())
	return meta
}

// send applies an object with one request and returns its metadata. Fields of other managers that differ are taken over, except for the
// number of replicas where an autoscaler sets it: only objects that state replicas are applied without force first, to see that.
func (a *Applier) send(ctx context.Context, obj *unstructured.Unstructured) (*metav1.PartialObjectMetadata, error) {
	if _, states, _ := unstructured.NestedFieldNoCopy(obj.Object, "spec", "replicas"); !states {
		return a.patch(ctx, obj, client.ForceOwnership)
	}
	live, err := a.patch(ctx, obj)
	if !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return live, err
	}
	if a.autoscaled(err) {
		obj = withoutReplicas(obj)
	}
	return a.patch(ctx, obj, client.ForceOwnership)
}

// patch makes one apply request.
func (a *Applier) patch(ctx context.Context, obj *unstructured.Unstructured, opts ...client.PatchOption) (*metav1.PartialObjectMetadata, error) {
	body, err := encode(obj)
	if err != nil {
		return nil, err
	}
	live := metadataOf(obj)
	opts = append(opts, client.FieldOwner(a.manager))
	if err := a.client.Patch(ctx, live, client.RawPatch(types.ApplyPatchType, body), opts...); err != nil {
		return nil, err
	}
	return live, nil
}

// autoscaled tells from a conflict whether something that scales workloads by itself holds the replicas.
func (a *Applier) autoscaled(err error) bool {
	said, ok := statusOf(err)
	if !ok || said.Details == nil {
		return false
	}
	return slices.ContainsFunc(said.Details.Causes, func(cause metav1.StatusCause) bool {
		if cause.Field != ".spec.replicas" || !strings.Contains(cause.Message, `subresource "scale"`) {
			return false
		}
		_, manager, _ := strings.Cut(cause.Message, `conflict with "`)
		manager, _, _ = strings.Cut(manager, `"`)
		return a.scales(manager)
	})
}

// scales tells whether what wrote the scale subresource under this name scales workloads by itself. A person who ran kubectl scale is no such
// thing, nor is an autoscaler that is known to be gone: of those that are there the replicas are left out before.
func (a *Applier) scales(manager string) bool {
	if a.left != nil && manager == horizontalManager {
		return false
	}
	return !slices.ContainsFunc(a.foreign, func(f foreignManager) bool { return f.names(manager) })
}

// withoutReplicas returns a copy that leaves the number of replicas to others. It shares everything else with the original.
func withoutReplicas(obj *unstructured.Unstructured) *unstructured.Unstructured {
	body := maps.Clone(obj.Object)
	if spec, ok := body["spec"].(map[string]any); ok {
		spec = maps.Clone(spec)
		delete(spec, "replicas")
		body["spec"] = spec
	}
	return &unstructured.Unstructured{Object: body}
}

// encode writes an object as the body of an apply request: without status and other fields that are not ours to set.
func encode(obj *unstructured.Unstructured) ([]byte, error) {
	body := maps.Clone(obj.Object)
	delete(body, "status")
	if metadata, ok := body["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		for _, field := range serverFields {
			delete(metadata, field)
		}
		body["metadata"] = metadata
	}
	switch obj.GroupVersionKind().GroupKind() {
	case crdKind:
		leaveCABundle(body)
	case secretKind:
		foldStringData(body)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return nil, fmt.Errorf("encoding %s: %w", IDOf(obj), err)
	}
	return out.Bytes(), nil
}

// leaveCABundle drops the certificate of a conversion webhook from the body of a CustomResourceDefinition: whoever issues it injects it
// into the live object, and it would be reset on each pass.
func leaveCABundle(body map[string]any) {
	path := []string{"spec", "conversion", "webhook", "clientConfig"}
	if _, found, err := unstructured.NestedFieldNoCopy(body, append(path, "caBundle")...); !found || err != nil {
		return
	}
	for _, field := range path {
		inner, _ := body[field].(map[string]any)
		inner = maps.Clone(inner)
		body[field] = inner
		body = inner
	}
	delete(body, "caBundle")
}

// foldStringData writes the stringData of a Secret into its data, as the API server would. Applied as it is, stringData would be owned
// apart from the data which it becomes, and a key that is dropped from it would stay.
func foldStringData(body map[string]any) {
	text, ok := body["stringData"].(map[string]any)
	if !ok {
		return
	}
	data, _ := body["data"].(map[string]any)
	data = maps.Clone(data)
	if data == nil {
		data = map[string]any{}
	}
	for key, value := range text {
		s, ok := value.(string)
		if !ok {
			return // not a Secret that the API server takes: let it say so
		}
		data[key] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	body["data"] = data
	delete(body, "stringData")
}
