package controllers

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

const (
	// maxCorrections is how often one object is put back within contestWindow; whoever changes it once more contests it.
	maxCorrections = 5
	// contestWindow is for how long it counts that an object was put back.
	contestWindow = 10 * time.Minute
	// defaultCoolDown is for how long a contested object is left alone at first.
	defaultCoolDown = 5 * time.Minute
)

// contests counts how often owned objects are put back, and which of them are left alone because somebody changes them again and again.
// It knows no clock: passes and watches tell the time. The zero value is ready to use.
type contests struct {
	mu      sync.Mutex
	scope   scope
	objects map[apply.ID]*contest
}

// scope is what was asked for: whatever was left alone is tried again when that changes.
type scope struct {
	uid         types.UID
	generation  int64
	requestedAt string
	revision    version.Revision
}

// contest is what is known of one object.
type contest struct {
	// corrected is when the object was put back within the window, maxCorrections times at most.
	corrected []time.Time
	phase     phase
	// until is when the phase ends.
	until time.Time
	// coolDown is how long the object is left alone this time.
	coolDown time.Duration
	by       []apply.Contender
}

// phase is where the contest of an object stands.
type phase int

const (
	// uncontested objects are put back.
	uncontested phase = iota
	// leftAlone objects are not put back until the cool-down is over.
	leftAlone
	// onTrial are objects that were put back after a cool-down: another change leaves them alone for twice as long, none ends the contest.
	onTrial
)

// coolDown says for how long contested objects are left alone.
type coolDown struct {
	first, longest time.Duration
}

// enter forgets everything when something else is asked for than before.
func (c *contests) enter(s scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scope != s {
		c.scope, c.objects = s, nil
	}
}

// among returns those of the objects that were put back lately, or are left alone.
func (c *contests) among(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	c.mu.Lock()
	defer c.mu.Unlock()
	var known []*unstructured.Unstructured
	for _, obj := range objects {
		if c.objects[apply.IDOf(obj)] != nil {
			known = append(known, obj)
		}
	}
	return known
}

// judge tells whether an object that somebody changed is put back, and whether it is contested from now on.
func (c *contests) judge(id apply.ID, by []apply.Contender, now time.Time, cool coolDown) (putBack, begins bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.objects[id]
	if o == nil {
		return true, false
	}
	o.expire(now)
	switch {
	case o.phase == leftAlone:
		return !now.Before(o.until), false
	case o.phase == onTrial && now.Before(o.until):
		o.leave(by, now, min(2*o.coolDown, max(cool.first, cool.longest)))
		return false, false
	case len(o.corrected) < maxCorrections:
		return true, false
	}
	o.leave(by, now, cool.first)
	return false, true
}

// leave begins a cool-down. Who contests the object stays known if nobody can be named this time.
func (o *contest) leave(by []apply.Contender, now time.Time, coolDown time.Duration) {
	if len(by) > 0 {
		o.by = by
	}
	o.phase, o.coolDown, o.until, o.corrected = leftAlone, coolDown, now.Add(coolDown), nil
}

// expire forgets corrections that do not count any more.
func (o *contest) expire(now time.Time) {
	o.corrected = slices.DeleteFunc(o.corrected, func(at time.Time) bool { return now.Sub(at) >= contestWindow })
}

// corrected notes that an object was put back.
func (c *contests) corrected(id apply.ID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.objects[id]
	if o == nil {
		o = &contest{}
		if c.objects == nil {
			c.objects = map[apply.ID]*contest{}
		}
		c.objects[id] = o
	}
	o.expire(now)
	o.corrected = append(o.corrected, now)
	o.corrected = o.corrected[max(0, len(o.corrected)-maxCorrections):]
}

// advance puts objects on trial whose cool-down is over, which must have been put back by now, ends contests whose trial is over, and forgets
// what does not count any more.
func (c *contests) advance(now time.Time, cool coolDown) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, o := range c.objects {
		o.expire(now)
		switch over := !now.Before(o.until); {
		case o.phase == leftAlone && over:
			o.phase, o.until = onTrial, now.Add(cool.first)
		case o.phase == onTrial && over, o.phase == uncontested && len(o.corrected) == 0:
			delete(c.objects, id)
		}
	}
}

// leaves tells whether an object is left alone for now.
func (c *contests) leaves(id apply.ID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.objects[id]
	return o != nil && o.phase == leftAlone && now.Before(o.until)
}

// next returns the time until the next cool-down or trial is over, at most limit.
func (c *contests) next(now time.Time, limit time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.objects {
		if o.phase != uncontested {
			limit = min(limit, max(o.until.Sub(now), 0))
		}
	}
	return limit
}

// contested returns who contests which objects.
func (c *contests) contested() map[apply.ID][]apply.Contender {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[apply.ID][]apply.Contender{}
	for id, o := range c.objects {
		if o.phase != uncontested {
			found[id] = o.by
		}
	}
	return found
}
