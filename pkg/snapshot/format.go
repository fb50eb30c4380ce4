// Package snapshot saves the FluxInstance and all Flux custom resources of a cluster, and puts them back.
//
// A snapshot is a gzip stream of lines of JSON: a [Header], the objects in the order in which they are put back, and a [Summary] that tells
// whether all of them arrived. [Take] writes one, [Store] keeps them in the cluster, [Restore] puts one back.
package snapshot

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// Format names the format and its version. Another version is not read.
	Format = "fluxcd.controlplane.io/snapshot/v1"
	// MediaType is that of a snapshot.
	MediaType = "application/vnd.flux-autopilot.snapshot.v1.jsonl+gzip"
	// ArtifactType is that of an artifact with a snapshot in it and nothing else.
	ArtifactType = "application/vnd.flux-autopilot.snapshot.v1"
	// MaxSize is how many bytes a snapshot may have, compressed.
	MaxSize = 64 << 20
)

// limits bound what a snapshot may cost whoever reads it; what is written keeps to them, too.
type limits struct {
	// plain is the size of everything without compression, line that of an object, in bytes.
	plain, line int64
	objects     int
}

// defaultLimits leave an order of magnitude above the largest known fleets; the API server itself takes objects of 3 MiB at most.
func defaultLimits() limits { return limits{plain: 2 << 30, line: 4 << 20, objects: 500_000} }

// Header says where a snapshot comes from.
type Header struct {
	// Format is [Format].
	Format string `json:"format"`
	// Created is when it was begun.
	Created time.Time `json:"created"`
	// Operator is what made it, with its version.
	Operator string `json:"operator,omitempty"`
	// Flux is the release that ran, empty when none did.
	Flux string `json:"flux,omitempty"`
	// Upgrade is the release that was about to be installed, empty for a snapshot on demand.
	Upgrade string `json:"upgrade,omitempty"`
}

// Summary is what a snapshot holds. The same objects have the same summary.
type Summary struct {
	// Objects is how many there are.
	Objects int `json:"objects"`
	// Kinds is how many there are of each kind, by its name and group such as Kustomization.kustomize.toolkit.fluxcd.io.
	Kinds map[string]int `json:"kinds"`
	// LeftOut are the names of definitions in groups of Flux that somebody else has brought, and whose objects are not in it.
	LeftOut []string `json:"leftOut,omitempty"`
	// SHA256 is the digest of their lines.
	SHA256 string `json:"sha256"`
}

// The first line and the last one are named, so that they cannot be taken for objects.
type (
	headerLine struct {
		Snapshot *Header `json:"snapshot"`
	}
	summaryLine struct {
		Summary *Summary `json:"summary"`
	}
)

// writer writes a snapshot line by line, and keeps none of them.
type writer struct {
	zip     *gzip.Writer
	sum     hash.Hash
	summary Summary
	limits  limits
	left    int64
}

func newWriter(out io.Writer, header Header, limits limits) (*writer, error) {
	w := &writer{zip: gzip.NewWriter(out), sum: sha256.New(), limits: limits, left: limits.plain, summary: Summary{Kinds: map[string]int{}}}
	header.Format = Format
	header.Created = header.Created.UTC().Truncate(time.Second)
	_, err := w.line(headerLine{&header})
	return w, err
}

// add writes an object.
func (w *writer) add(obj *unstructured.Unstructured) error {
	if w.summary.Objects++; w.summary.Objects > w.limits.objects {
		return fmt.Errorf("there are more than %d objects", w.limits.objects)
	}
	text, err := w.line(obj.Object)
	if err != nil {
		return fmt.Errorf("saving %s: %w", describe(obj), err)
	}
	w.sum.Write(text)
	w.summary.Kinds[obj.GroupVersionKind().GroupKind().String()]++
	return nil
}

// close ends the snapshot.
func (w *writer) close() (Summary, error) {
	w.summary.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	if _, err := w.line(summaryLine{&w.summary}); err != nil {
		return Summary{}, err
	}
	return w.summary, w.zip.Close()
}

// line writes a value, with the keys of its objects in order.
func (w *writer) line(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	size := int64(len(text)) + 1
	if size > w.limits.line {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed", size, w.limits.line)
	}
	if w.left -= size; w.left < 0 {
		return nil, fmt.Errorf("the snapshot has more than %d bytes without compression", w.limits.plain)
	}
	text = append(text, '\n')
	_, err = w.zip.Write(text)
	return text, err
}
