package snapshot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// NameLabel holds the name of the snapshot that a ConfigMap belongs to.
	NameLabel = v1.Group + "/snapshot"
	// partLabel tells the ConfigMap that stands for a whole snapshot from those with its bytes.
	partLabel = v1.Group + "/snapshot-part"
	indexPart = "index"
	chunkPart = "chunk"

	// indexKey and chunkKey are where a ConfigMap has its content.
	indexKey = "snapshot.json"
	chunkKey = "chunk"

	// chunkSize leaves room below the 1 MiB that a ConfigMap may have; maxChunks keeps a snapshot from filling the cluster's database.
	chunkSize = 900 << 10
	maxChunks = 32

	// defaultStale is how old the leftovers of a snapshot must be until they count as given up.
	defaultStale = time.Hour
	// abandonTimeout bounds clearing away what was begun and failed.
	abandonTimeout = 30 * time.Second
)

// errTooLarge means that a snapshot does not fit into the cluster.
var errTooLarge = fmt.Errorf("it has more than %d bytes, which do not belong into a cluster: save it with flux-operator snapshot create --to, "+
	"and switch those in the cluster off with spec.snapshots.keep: 0", maxChunks*chunkSize)

// Options configure a Store.
type Options struct {
	// Namespace is where the FluxInstance and the snapshots are.
	Namespace string
	// Operator is what makes snapshots, with its version.
	Operator string
	// Stale is how old the leftovers of an unfinished snapshot must be until they are removed, one hour by default.
	Stale time.Duration
}

// Store keeps snapshots in the cluster, in ConfigMaps that never change. The one that makes a snapshot whole is written last, and removed first.
type Store struct {
	client client.Client
	opts   Options
}

// NewStore returns a Store that talks through the client, which must read from the API server and not from a cache, and know ConfigMaps.
func NewStore(c client.Client, opts Options) *Store {
	if opts.Stale <= 0 {
		opts.Stale = defaultStale
	}
	return &Store{client: c, opts: opts}
}

// Stored is a snapshot in the cluster.
type Stored struct {
	Header
	Summary

	// Name of the snapshot.
	Name string `json:"name"`
	// Size is how many bytes it has, compressed.
	Size int `json:"size"`
	// Digest of these bytes.
	Digest string `json:"digest"`
	// Chunks is how many ConfigMaps they are in.
	Chunks int `json:"chunks"`
}

// Order says of what a snapshot is to be stored. The zero value orders one of everything.
type Order struct {
	// Flux is the release that runs, and Upgrade the one to be installed; both may be empty.
	Flux, Upgrade string
	// Definitions and Progress are those of a Request.
	Definitions []string
	Progress    func(objects int)
}

// Create takes a snapshot and stores it.
func (s *Store) Create(ctx context.Context, order Order) (*Stored, error) {
	if err := s.sweep(ctx); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	stored := &Stored{
		Name:   now.Format("flux-snapshot-20060102-150405-") + rand.String(5),
		Header: Header{Format: Format, Created: now.Truncate(time.Second), Operator: s.opts.Operator, Flux: order.Flux, Upgrade: order.Upgrade},
	}
	if err := s.fill(ctx, stored, order); err != nil {
		// Also when the operator is told to end: what was begun is of no use to anybody.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("storing snapshot %q: %w", stored.Name, err), s.removeChunks(ctx, stored.Name))
	}
	return stored, nil
}

// fill writes the chunks and then the index.
func (s *Store) fill(ctx context.Context, stored *Stored, order Order) error {
	chunks := &chunks{sum: sha256.New(), save: func(number int, content []byte) error {
		chunk := s.part(chunkName(stored.Name, number), stored.Name, chunkPart)
		chunk.BinaryData = map[string][]byte{chunkKey: content}
		return s.create(ctx, chunk)
	}}
	summary, err := Take(ctx, s.client, chunks, Request{
		Header: stored.Header, Namespace: s.opts.Namespace, Definitions: order.Definitions, Progress: order.Progress,
	})
	if err != nil {
		return err
	}
	if err := chunks.flush(); err != nil {
		return err
	}
	stored.Summary, stored.Size, stored.Chunks = summary, chunks.size, chunks.number
	stored.Digest = "sha256:" + hex.EncodeToString(chunks.sum.Sum(nil))
	text, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	index := s.part(stored.Name, stored.Name, indexPart)
	index.Data = map[string]string{indexKey: string(text)}
	return s.create(ctx, index)
}

// part is a ConfigMap of a snapshot, without content.
func (s *Store) part(name, snapshot, part string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.opts.Namespace, Name: name,
			Labels: map[string]string{NameLabel: snapshot, partLabel: part, "app.kubernetes.io/managed-by": v1.FieldManager},
		},
		Immutable: new(true),
	}
}

// create writes a ConfigMap. That it is there already is the success of an attempt whose answer was lost: no two snapshots have the same name.
func (s *Store) create(ctx context.Context, part *corev1.ConfigMap) error {
	err := persist(ctx, func() error { return s.client.Create(ctx, part, client.FieldOwner(v1.FieldManager)) })
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating ConfigMap %q: %w", part.Name, err)
	}
	return nil
}

// List returns the complete snapshots, the newest first. What it cannot read, such as those of a later format, is left out.
func (s *Store) List(ctx context.Context) ([]Stored, error) {
	list := &corev1.ConfigMapList{}
	err := persist(ctx, func() error {
		return s.client.List(ctx, list, client.InNamespace(s.opts.Namespace), client.MatchingLabels{partLabel: indexPart})
	})
	if err != nil {
		return nil, fmt.Errorf("listing snapshots in namespace %q: %w", s.opts.Namespace, err)
	}
	var found []Stored
	for i := range list.Items {
		if stored, err := readIndex(&list.Items[i]); err == nil {
			found = append(found, *stored)
		}
	}
	slices.SortFunc(found, func(a, b Stored) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Name, a.Name)) })
	return found, nil
}

// readIndex reads what the ConfigMap that makes a snapshot whole says of it.
func readIndex(index *corev1.ConfigMap) (*Stored, error) {
	stored := &Stored{}
	if err := json.Unmarshal([]byte(index.Data[indexKey]), stored); err != nil {
		return nil, fmt.Errorf("data.%q: %w", indexKey, err)
	}
	if err := stored.check(); err != nil {
		return nil, err
	}
	if stored.Name != index.Name || stored.Chunks < 1 || stored.Chunks > maxChunks {
		return nil, fmt.Errorf("data.%q is not about this snapshot, or about %d chunks", indexKey, stored.Chunks)
	}
	return stored, nil
}

// Open returns the bytes of a snapshot, once their digest was found to be right.
func (s *Store) Open(ctx context.Context, name string) ([]byte, error) {
	content, err := s.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening snapshot %q: %w", name, err)
	}
	return content, nil
}

func (s *Store) open(ctx context.Context, name string) ([]byte, error) {
	index, err := s.get(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is none of that name in namespace %q, or it is not complete", s.opts.Namespace)
	}
	if err != nil {
		return nil, err
	}
	if index.Labels[partLabel] != indexPart {
		return nil, errors.New("the ConfigMap of that name is no snapshot")
	}
	stored, err := readIndex(index)
	if err != nil {
		return nil, err
	}
	var content []byte
	for number := range stored.Chunks {
		chunk, err := s.get(ctx, chunkName(name, number))
		if err != nil {
			return nil, err
		}
		content = append(content, chunk.BinaryData[chunkKey]...)
	}
	if sum := sha256.Sum256(content); "sha256:"+hex.EncodeToString(sum[:]) != stored.Digest {
		return nil, fmt.Errorf("its content has the digest sha256:%x, its index says %q: somebody changed it", sum, shorten(stored.Digest))
	}
	return content, nil
}

func (s *Store) get(ctx context.Context, name string) (*corev1.ConfigMap, error) {
	found := &corev1.ConfigMap{}
	err := persist(ctx, func() error {
		return s.client.Get(ctx, client.ObjectKey{Namespace: s.opts.Namespace, Name: name}, found)
	})
	return found, err
}

// Prune removes all snapshots but the newest, and returns the names of those it removed.
func (s *Store) Prune(ctx context.Context, keep int) ([]string, error) {
	found, err := s.List(ctx)
	if err != nil || len(found) <= keep {
		return nil, err
	}
	var removed []string
	for _, old := range found[keep:] {
		if err := s.remove(ctx, old.Name); err != nil {
			return removed, err
		}
		removed = append(removed, old.Name)
	}
	return removed, nil
}

// remove deletes the index of a snapshot first: from then on it is no snapshot any more.
func (s *Store) remove(ctx context.Context, name string) error {
	if err := s.delete(ctx, name); err != nil {
		return err
	}
	return s.removeChunks(ctx, name)
}

// removeChunks deletes the bytes of a snapshot.
func (s *Store) removeChunks(ctx context.Context, name string) error {
	chunks, err := s.listChunks(ctx, client.MatchingLabels{NameLabel: name, partLabel: chunkPart})
	if err != nil {
		return err
	}
	for i := range chunks {
		if err := s.delete(ctx, chunks[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what is left of snapshots that were begun and never finished: a process that was killed cannot clear up.
func (s *Store) sweep(ctx context.Context) error {
	chunks, err := s.listChunks(ctx, client.MatchingLabels{partLabel: chunkPart})
	if err != nil || len(chunks) == 0 {
		return err
	}
	indexes := &metav1.PartialObjectMetadataList{}
	if err := s.list(ctx, indexes, client.MatchingLabels{partLabel: indexPart}); err != nil {
		return err
	}
	whole := map[string]bool{}
	for i := range indexes.Items {
		whole[indexes.Items[i].Name] = true
	}
	for i := range chunks {
		if whole[chunks[i].Labels[NameLabel]] || time.Since(chunks[i].CreationTimestamp.Time) < s.opts.Stale {
			continue
		}
		if err := s.delete(ctx, chunks[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// listChunks returns the metadata of chunks, without their bytes.
func (s *Store) listChunks(ctx context.Context, labels client.MatchingLabels) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	err := s.list(ctx, list, labels)
	return list.Items, err
}

func (s *Store) list(ctx context.Context, into *metav1.PartialObjectMetadataList, labels client.MatchingLabels) error {
	into.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	err := persist(ctx, func() error { return s.client.List(ctx, into, client.InNamespace(s.opts.Namespace), labels) })
	if err != nil {
		return fmt.Errorf("listing the parts of snapshots in namespace %q: %w", s.opts.Namespace, err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name string) error {
	err := persist(ctx, func() error {
		return s.client.Delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.opts.Namespace, Name: name}})
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting ConfigMap %q: %w", name, err)
	}
	return nil
}

func chunkName(snapshot string, number int) string { return snapshot + "-" + strconv.Itoa(number) }
