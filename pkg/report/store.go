package report

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Health says how watching something goes.
type Health struct {
	// Observed tells whether it was read completely at least once.
	Observed bool
	// Failing is since when it cannot be watched; the zero time while it can.
	Failing time.Time
	// Problem is why it cannot be watched.
	Problem string
}

// patience is how long a watch may fail before what it saw last is called old: API servers restart.
const patience = 10 * time.Second

// problem says why what is known may not be true any more; empty where it is.
func (h Health) problem(now time.Time) string {
	switch {
	case !h.Failing.IsZero() && (!h.Observed || now.Sub(h.Failing) >= patience):
		return h.Problem
	case !h.Observed:
		return "not read yet"
	default:
		return ""
	}
}

// untold is how long it takes until a failure is a problem; 0 where there is none, or where it is one already.
func (h Health) untold(now time.Time) time.Duration {
	if h.Failing.IsZero() || h.problem(now) != "" {
		return 0
	}
	return patience - now.Sub(h.Failing)
}

// with returns the health after another attempt.
func (h Health) with(err error) Health {
	if err == nil {
		return Health{Observed: h.Observed}
	}
	if h.Failing.IsZero() {
		h.Failing = time.Now()
	}
	h.Problem = clip(err.Error(), messageLimit)
	return h
}

// Kind is a kind of Flux in a snapshot, with its objects.
type Kind struct {
	*Definition
	Health

	objects []*record
}

// Len is the number of objects.
func (k *Kind) Len() int { return len(k.objects) }

// Snapshot is what is known of all objects at one moment. Nobody changes it.
type Snapshot struct {
	// Kinds are those that exist, sorted by API version and kind.
	Kinds []Kind
	// Definitions says how looking for kinds goes.
	Definitions Health
	// ShardKey is the label that assigns objects to shards.
	ShardKey string
}

// Untold is how long it takes until the first watch that fails is called old, if nothing changes until then; 0 where none is on the way to it.
func (s *Snapshot) Untold(now time.Time) time.Duration {
	first := s.Definitions.untold(now)
	for i := range s.Kinds {
		if left := s.Kinds[i].untold(now); left > 0 && (first == 0 || left < first) {
			first = left
		}
	}
	return first
}

// watched is what the store has of a kind.
type watched struct {
	definition *Definition
	health     Health
	epoch      int // of the watch that may write
	objects    map[key]*record
	// list has the objects of a snapshot, until one of them changes.
	list []*record
}

// store holds the records of all objects. All methods may be called at the same time.
type store struct {
	mu          sync.Mutex
	kinds       map[string]*watched // by name of the definition
	definitions map[string]Health   // by where definitions come from
	shardKey    string
	snapshot    *Snapshot // until something changes
	epochs      int
	changed     chan struct{}
}

func newStore() *store {
	return &store{kinds: map[string]*watched{}, definitions: map[string]Health{}, changed: make(chan struct{}, 1)}
}

// Snapshot returns what is known at this moment.
func (s *store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot != nil {
		return s.snapshot
	}
	taken := &Snapshot{ShardKey: s.shardKey, Definitions: s.finding()}
	for _, kind := range s.kinds {
		if kind.list == nil {
			kind.list = slices.AppendSeq(make([]*record, 0, len(kind.objects)), maps.Values(kind.objects))
		}
		taken.Kinds = append(taken.Kinds, Kind{Definition: kind.definition, Health: kind.health, objects: kind.list})
	}
	slices.SortFunc(taken.Kinds, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(a.APIVersion(), b.APIVersion()), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	s.snapshot = taken
	return taken
}

// finding is the health of looking for kinds: of the watch that is worst.
func (s *store) finding() Health {
	all := Health{Observed: len(s.definitions) > 0}
	for _, name := range slices.Sorted(maps.Keys(s.definitions)) {
		one := s.definitions[name]
		all.Observed = all.Observed && one.Observed
		if !one.Failing.IsZero() && (all.Failing.IsZero() || one.Failing.Before(all.Failing)) {
			all.Failing, all.Problem = one.Failing, one.Problem
		}
	}
	return all
}

// touched makes the next snapshot a new one, and tells that there is one. The lock is held.
func (s *store) touched() {
	s.snapshot = nil
	select {
	case s.changed <- struct{}{}:
	default: // it is told already
	}
}

// setShardKey keeps the label that assigns objects to shards.
func (s *store) setShardKey(label string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shardKey = label
	s.touched()
}

// slot is where a watch writes. A watch that was replaced by another has an epoch of the past, and writes nothing any more.
type slot struct {
	name  string
	epoch int
}

// open returns the slot for the next watch of a kind; what was known stays until the watch has read everything.
func (s *store) open(name string) slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := s.kinds[name]
	s.epochs++
	kind.epoch = s.epochs
	return slot{name: name, epoch: kind.epoch}
}

// writable returns the kind that a slot is of, or nil. The lock is held.
func (s *store) writable(at slot) *watched {
	if kind := s.kinds[at.name]; kind != nil && kind.epoch == at.epoch {
		return kind
	}
	return nil
}

// defined keeps a definition; its objects stay.
func (s *store) defined(definition *Definition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := s.kinds[definition.Name]
	if kind == nil {
		s.epochs++ // never that of an earlier kind of this name
		kind = &watched{objects: map[key]*record{}, epoch: s.epochs}
		s.kinds[definition.Name] = kind
	}
	kind.definition = definition
	s.touched()
}

// removed forgets a kind with its objects.
func (s *store) removed(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.kinds[name]; known {
		delete(s.kinds, name)
		s.touched()
	}
}

// sought keeps how a look for definitions went; read tells that all of them were.
func (s *store) sought(from string, change func(Health) Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.definitions[from]
	if after := change(before); after != before {
		s.definitions[from] = after
		s.touched()
	}
}

// attempted keeps how an attempt to watch a kind went.
func (s *store) attempted(at slot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := s.writable(at)
	if kind == nil {
		return
	}
	if after := kind.health.with(err); after != kind.health {
		kind.health = after
		s.touched()
	}
}

// put keeps a record.
func (s *store) put(at slot, found *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := s.writable(at)
	if kind == nil {
		return
	}
	if before := kind.objects[found.key]; before != nil && *before == *found {
		return
	}
	kind.objects[found.key] = found
	kind.list = nil
	s.touched()
}

// drop forgets a record.
func (s *store) drop(at slot, which key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := s.writable(at)
	if kind == nil {
		return
	}
	if _, there := kind.objects[which]; there {
		delete(kind.objects, which)
		kind.list = nil
		s.touched()
	}
}

// replace puts the records of a kind in the place of those that were there, all at once. A failure stays told until the kind is watched: lists alone
// are late.
func (s *store) replace(at slot, found []*record) {
	objects := make(map[key]*record, len(found))
	for _, object := range found {
		objects[object.key] = object
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := s.writable(at)
	if kind == nil {
		return
	}
	kind.objects, kind.list, kind.health.Observed = objects, nil, true
	s.touched()
}
