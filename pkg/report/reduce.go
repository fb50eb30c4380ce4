package report

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// waiting is the reason of objects that fail because others do.
var waiting = symbolOf(v1.ReasonDependencyNotReady)

// resourceSet is a kind of the operator's group that is not among its types.
const resourceSet = "ResourceSet"

// conditionWire is a condition.
type conditionWire struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Changed string `json:"lastTransitionTime"`
}

// refWire is a reference to another object.
type refWire struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// writerWire says who set fields of an object, and in which version of its API.
type writerWire struct {
	Manager     string `json:"manager"`
	APIVersion  string `json:"apiVersion"`
	Subresource string `json:"subresource"`
	Fields      struct {
		Spec present `json:"f:spec"`
	} `json:"fieldsV1"`
}

// present tells whether there is a field, whatever is in it.
type present bool

// UnmarshalJSON is called where there is the field.
func (p *present) UnmarshalJSON([]byte) error {
	*p = true
	return nil
}

// counted is a list of which the length matters.
type counted []struct{}

// objectWire are the fields of the kinds of Flux that are read. No kind has all of them.
type objectWire struct {
	Metadata struct {
		metadataWire

		Labels  map[string]string `json:"labels"`
		Writers []writerWire      `json:"managedFields"`
	} `json:"metadata"`
	Spec struct {
		Suspend    bool   `json:"suspend"`
		Type       string `json:"type"`
		URL        string `json:"url"`
		Endpoint   string `json:"endpoint"`
		BucketName string `json:"bucketName"`
		Image      string `json:"image"`
		Path       string `json:"path"`
		Ref        struct {
			Branch string `json:"branch"`
			Tag    string `json:"tag"`
			Semver string `json:"semver"`
			Name   string `json:"name"`
		} `json:"ref"`
		SourceRef refWire `json:"sourceRef"`
		ChartRef  refWire `json:"chartRef"`
		Chart     struct {
			Spec struct {
				SourceRef refWire `json:"sourceRef"`
			} `json:"spec"`
		} `json:"chart"`
		ImageRepositoryRef refWire `json:"imageRepositoryRef"`
		Distribution       struct {
			Registry string `json:"registry"`
		} `json:"distribution"`
	} `json:"spec"`
	Status struct {
		Conditions            []conditionWire `json:"conditions"`
		LastAttemptedRevision string          `json:"lastAttemptedRevision"`
		LastAppliedRevision   string          `json:"lastAppliedRevision"`
		WebhookPath           string          `json:"webhookPath"`
		Artifact              struct {
			Revision string `json:"revision"`
			Size     int64  `json:"size"`
		} `json:"artifact"`
		Inventory struct {
			Entries counted `json:"entries"`
		} `json:"inventory"`
	} `json:"status"`
}

// objectReader reads objects of a kind from a stream and reduces them. The shard key is the label that assigns objects to shards.
func objectReader(definition *Definition, shardKey string) reader[*record] {
	return func(stream *json.Decoder) (*item[*record], error) {
		var wire objectWire
		if err := decode(stream, &wire); err != nil {
			return nil, err
		}
		return itemOf(&wire.Metadata.metadataWire, wire.reduce(definition, shardKey)), nil
	}
}

// reduce makes the record of an object.
func (w *objectWire) reduce(definition *Definition, shardKey string) *record {
	found := &record{
		key:       key{namespace: symbolOf(w.Metadata.Namespace), name: w.Metadata.Name},
		uid:       w.Metadata.UID,
		revision:  symbolOf(w.revision(definition)),
		url:       symbolOf(withoutCredentials(w.address(definition.Kind))),
		ref:       symbolOf(w.reference()),
		source:    symbolOf(w.source()),
		path:      symbolOf(w.Spec.Path),
		shard:     symbolOf(w.Metadata.Labels[shardKey]),
		writers:   symbolOf(w.writers(definition)),
		size:      w.Status.Artifact.Size,
		resources: int32(len(w.Status.Inventory.Entries)), //nolint:gosec // an inventory fits into an object of the API server
		suspended: w.Spec.Suspend,
	}
	if definition.Group == v1.Group {
		found.suspended = strings.EqualFold(w.Metadata.Annotations.Reconcile, v1.DisabledValue)
	}
	w.judge(found, definition.Kind)
	return found
}

// judge sets how the object goes.
func (w *objectWire) judge(found *record, kind string) {
	found.reason, found.message = symbolOf(""), symbolOf("")
	i := slices.IndexFunc(w.Status.Conditions, func(c conditionWire) bool { return c.Type == "Ready" })
	if i >= 0 {
		ready := w.Status.Conditions[i]
		found.reason = symbolOf(ready.Reason)
		if ready.Status != "True" || kind == "Kustomization" { // nobody is told what an object says that is ready, but for that of the sync
			found.message = symbolOf(clip(ready.Message, messageLimit))
		}
		if changed, err := time.Parse(time.RFC3339, ready.Changed); err == nil {
			found.since = changed.Unix()
		}
		switch ready.Status {
		case "True":
			found.ready = readyTrue
		case "False":
			found.ready = readyFalse
		}
	}
	if kind == "Alert" || kind == "Provider" || kind == "HelmRepository" && w.Spec.Type == "oci" {
		found.ready = readyTrue // nothing is done for them, so no condition says it
	}
}

// revision is what the object tried last, or fetched. A ResourceSet tells what it applied alone.
func (w *objectWire) revision(definition *Definition) string {
	if definition.Group == v1.Group && definition.Kind == resourceSet {
		return w.Status.LastAppliedRevision
	}
	return firstOf(w.Status.LastAttemptedRevision, w.Status.Artifact.Revision)
}

// address is where the object gets its content from, or is reached at.
func (w *objectWire) address(kind string) string {
	switch kind {
	case "Bucket":
		return w.Spec.Endpoint
	case "Receiver":
		return w.Status.WebhookPath
	case "ImageRepository":
		return w.Spec.Image
	case v1.FluxInstanceKind:
		return w.Spec.Distribution.Registry
	default:
		return w.Spec.URL
	}
}

// withoutCredentials leaves out who an address logs in as, which many may read in metrics; the user of SSH is no secret.
func withoutCredentials(address string) string {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		return address
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	user := strings.LastIndexByte(rest[:end], '@')
	if user < 0 || scheme == "ssh" && !strings.Contains(rest[:user], ":") {
		return address
	}
	return scheme + "://" + rest[user+1:]
}

// reference is the part of the source's content that the object wants; the field that wins among several is the last one.
func (w *objectWire) reference() string {
	ref := w.Spec.Ref
	return firstOf(ref.Name, ref.Semver, ref.Tag, ref.Branch, w.Spec.BucketName)
}

// source is the kind, the namespace and the name of the source.
func (w *objectWire) source() string {
	for _, ref := range []refWire{w.Spec.SourceRef, w.Spec.ChartRef, w.Spec.Chart.Spec.SourceRef, w.Spec.ImageRepositoryRef} {
		if ref.Name != "" {
			return ref.Kind + "/" + firstOf(ref.Namespace, w.Metadata.Namespace) + "/" + ref.Name
		}
	}
	return ""
}

// writers are those who set something in the spec in another version than the one the objects are stored in: lines of version and field manager.
func (w *objectWire) writers(definition *Definition) string {
	var lines []string
	for _, writer := range w.Metadata.Writers {
		_, version, _ := strings.Cut(writer.APIVersion, "/")
		if writer.Subresource == "" && bool(writer.Fields.Spec) && version != definition.Version {
			lines = append(lines, version+" "+writer.Manager)
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
