package report

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// DefaultShardKey is the label that assigns objects to shards unless the FluxInstance says another.
const DefaultShardKey = "sharding.fluxcd.io/key"

// byLabel is the search for definitions by label; the others are searches for one definition by its name.
const byLabel = "labels"

// definitionsPath is where definitions are.
const definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// ObserverOptions tune an Observer. The zero value is good.
type ObserverOptions struct {
	// Silence is how long a watch may say nothing before another takes its place. Two minutes by default: API servers say something each minute.
	Silence time.Duration
}

// Observer watches all kinds of Flux that exist, as they come and go, and keeps a record of each of their objects.
type Observer struct {
	client  rest.Interface
	silence time.Duration
	store   *store

	mu       sync.Mutex
	shardKey string
	watches  map[string]*kindWatch // by name of the definition
	// begin watches a kind until it is told to end. It is nil unless the observer runs.
	begin func(definition *Definition, shardKey string) (end context.CancelFunc)
}

// kindWatch is the watch of one kind.
type kindWatch struct {
	definition *Definition
	end        context.CancelFunc
}

// NewObserver makes an observer of the cluster. The client may be nil; one is made then.
func NewObserver(config *rest.Config, client *http.Client, options ObserverOptions) (*Observer, error) {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.NegotiatedSerializer = refusals()
	if client == nil {
		var err error
		if client, err = rest.HTTPClientFor(config); err != nil {
			return nil, fmt.Errorf("making the client of the report: %w", err)
		}
	}
	requests, err := rest.UnversionedRESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("making the client of the report: %w", err)
	}
	if options.Silence <= 0 {
		options.Silence = 2 * time.Minute
	}
	o := &Observer{client: requests, silence: options.Silence, store: newStore(), shardKey: DefaultShardKey, watches: map[string]*kindWatch{}}
	o.store.setShardKey(DefaultShardKey)
	return o, nil
}

// refusals decodes what an API server says instead of an answer, so that it is told in its own words. Objects are not decoded through it.
func refusals() runtime.NegotiatedSerializer {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return serializer.NewCodecFactory(scheme).WithoutConversion()
}

// Snapshot returns what is known at this moment. It costs nothing while nothing changes.
func (o *Observer) Snapshot() *Snapshot { return o.store.Snapshot() }

// Changes has a value in it whenever something changed since the last one was taken out. It is for one reader.
func (o *Observer) Changes() <-chan struct{} { return o.store.changed }

// SetShardKey says which label assigns objects to shards. All objects are read again when it is another than before.
func (o *Observer) SetShardKey(label string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if label == "" {
		label = DefaultShardKey
	}
	if label == o.shardKey {
		return
	}
	o.shardKey = label
	o.store.setShardKey(label)
	for _, watching := range o.watches {
		watching.end()
		watching.end = o.begin(watching.definition, label)
	}
}

// Start watches until the context ends. It may be called once.
func (o *Observer) Start(ctx context.Context) error {
	o.mu.Lock()
	if o.begin != nil {
		o.mu.Unlock()
		return errors.New("starting the observer: it was started before")
	}
	o.begin = func(definition *Definition, shardKey string) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		into := &objectStore{store: o.store, slot: o.store.open(definition.Name)}
		go o.feedObjects(definition, shardKey, into.slot).run(ctx, into)
		return cancel
	}
	o.mu.Unlock()
	sought := map[string]*feed[*Definition]{byLabel: {labels: partOfLabel + "=" + partOfFlux}}
	for _, name := range ownDefinitions() {
		sought[name] = &feed[*Definition]{fields: "metadata.name=" + name}
	}
	for from := range sought {
		o.store.sought(from, func(Health) Health { return Health{Failing: time.Now(), Problem: "not read yet"} })
	}
	for from, definitions := range sought {
		go o.seek(ctx, from, definitions)
	}
	<-ctx.Done()
	return nil
}

// seek watches definitions.
func (o *Observer) seek(ctx context.Context, from string, definitions *feed[*Definition]) {
	definitions.client, definitions.path, definitions.read, definitions.silence = o.client, definitionsPath, readDefinition, o.silence
	definitions.attempted = func(err error) {
		o.store.sought(from, func(h Health) Health { return h.with(err) })
	}
	definitions.run(ctx, &definitionStore{observer: o, from: from, known: map[string]bool{}})
}

// feedObjects reads the objects of a kind.
func (o *Observer) feedObjects(definition *Definition, shardKey string, into slot) *feed[*record] {
	return &feed[*record]{
		client: o.client, path: "/apis/" + definition.APIVersion() + "/" + definition.Plural, read: objectReader(definition, shardKey),
		silence: o.silence, attempted: func(err error) { o.store.attempted(into, err) },
	}
}

// found begins to watch a kind, or goes on in another way when its definition changed. The objects that are known stay until the new watch has read
// all of them, unless they went with an earlier definition of this name.
func (o *Observer) found(definition *Definition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	watching := o.watches[definition.Name]
	if !definition.isWatchable() {
		o.forget(definition.Name)
		return
	}
	if watching != nil && watching.definition.sameObjects(definition) {
		watching.definition = definition
		o.store.defined(definition)
		return
	}
	if watching != nil {
		watching.end()
		if watching.definition.uid != definition.uid {
			o.store.removed(definition.Name)
		}
	}
	o.store.defined(definition)
	o.watches[definition.Name] = &kindWatch{definition: definition, end: o.begin(definition, o.shardKey)}
}

// gone ends the watch of a kind and forgets its objects.
func (o *Observer) gone(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forget(name)
}

// forget does it while the lock is held.
func (o *Observer) forget(name string) {
	if watching := o.watches[name]; watching != nil {
		watching.end()
		delete(o.watches, name)
	}
	o.store.removed(name)
}

// definitionStore takes definitions from a reflector.
type definitionStore struct {
	observer *Observer
	from     string
	known    map[string]bool
}

// Add takes a definition.
func (s *definitionStore) Add(object any) error {
	definition, err := content[*Definition](object)
	if err != nil || s.from == byLabel && slices.Contains(ownDefinitions(), definition.Name) { // these come by name
		return err
	}
	s.known[definition.Name] = true
	s.observer.found(definition)
	return nil
}

// Update takes a definition.
func (s *definitionStore) Update(object any) error { return s.Add(object) }

// Delete forgets a definition.
func (s *definitionStore) Delete(object any) error {
	definition, err := content[*Definition](object)
	if err == nil && s.known[definition.Name] {
		delete(s.known, definition.Name)
		s.observer.gone(definition.Name)
	}
	return err
}

// Replace takes all definitions, and forgets those that are not among them.
func (s *definitionStore) Replace(objects []any, _ string) error {
	left := s.known
	s.known = map[string]bool{}
	for _, object := range objects {
		if err := s.Add(object); err != nil {
			return err
		}
	}
	for name := range left {
		if !s.known[name] {
			s.observer.gone(name)
		}
	}
	s.observer.store.sought(s.from, func(h Health) Health {
		h.Observed = true
		return h
	})
	return nil
}

// Resync does nothing: there is nobody to tell again.
func (*definitionStore) Resync() error { return nil }

// objectStore takes the objects of a kind from a reflector.
type objectStore struct {
	store *store
	slot  slot
}

// Add takes an object.
func (s *objectStore) Add(object any) error {
	found, err := content[*record](object)
	if err == nil {
		s.store.put(s.slot, found)
	}
	return err
}

// Update takes an object.
func (s *objectStore) Update(object any) error { return s.Add(object) }

// Delete forgets an object.
func (s *objectStore) Delete(object any) error {
	found, err := content[*record](object)
	if err == nil {
		s.store.drop(s.slot, found.key)
	}
	return err
}

// Replace takes all objects, and forgets those that are not among them.
func (s *objectStore) Replace(objects []any, _ string) error {
	all := make([]*record, 0, len(objects))
	for _, object := range objects {
		found, err := content[*record](object)
		if err != nil {
			return err
		}
		all = append(all, found)
	}
	s.store.replace(s.slot, all)
	return nil
}

// Resync does nothing: there is nobody to tell again.
func (*objectStore) Resync() error { return nil }

var (
	_ cache.ReflectorStore = (*definitionStore)(nil)
	_ cache.ReflectorStore = (*objectStore)(nil)
)

// content unpacks what a reflector hands over.
func content[T any](object any) (T, error) {
	found, known := object.(*item[T])
	if !known {
		var none T
		return none, fmt.Errorf("keeping an object: it is a %T", object)
	}
	return found.value, nil
}
