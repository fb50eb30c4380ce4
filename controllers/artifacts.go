package controllers

import (
	"context"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// Artifacts opens the distribution that an instance installs from: the one built into the operator, or the artifact that the instance names.
// Passes and the poller share it, so that both go by the same look at the registry. All exported fields are required unless they say otherwise.
type Artifacts struct {
	// Builtin opens the built-in distribution.
	Builtin func() (*artifact.Catalog, error)
	// Store keeps what was pulled.
	Store *artifact.Store
	// Reader reads the Secrets and ServiceAccounts that an instance names. It does not cache, so that a rotated Secret counts at the next look.
	Reader client.Reader
	// Clouds log in to registries by an identity.
	Clouds *artifact.Clouds
	// RootCache is a folder for the authorities of the public Sigstore instance, which keyless signatures are checked against.
	RootCache string
	// UserAgent is what the operator calls itself to registries. Optional.
	UserAgent string

	// asking is held while the registry is asked, mu while last is looked at.
	asking, mu sync.Mutex
	last       look
}

// look is what a registry said about the artifact of an instance.
type look struct {
	// link is the way to the registry; nil when there is none, which err explains.
	link   *link
	digest string
	err    error

	at         time.Time
	generation int64
}

// same tells whether another look found the same: a pass that went by one of them would do nothing after the other.
func (l look) same(other look) bool {
	return l.link == other.link && l.digest == other.digest && (l.err == nil) == (other.err == nil)
}

// isOf tells whether the look was for this spec.
func (l look) isOf(instance *v1.FluxInstance) bool { return l.generation == instance.Generation }

// latest is the last look for this instance; the zero look when it names no artifact.
func (a *Artifacts) latest(instance *v1.FluxInstance) look {
	if instance.Spec.Distribution.Artifact == "" {
		return look{}
	}
	return a.said()
}

// said is what the registry said when it was asked last.
func (a *Artifacts) said() look {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// look asks the registry which digest the artifact has now, unless it was asked for this spec less than maxAge ago.
//
// While one caller asks, others go on with the answer before: a registry that hangs holds up nobody who has one. Those that have none, and those
// that insist on a new one with a maxAge of zero, wait for their turn.
func (a *Artifacts) look(ctx context.Context, instance *v1.FluxInstance, maxAge time.Duration) look {
	if last := a.said(); last.isOf(instance) && time.Since(last.at) < maxAge {
		return last
	}
	if !a.asking.TryLock() {
		if last := a.said(); last.isOf(instance) && maxAge > 0 {
			return last
		}
		a.asking.Lock()
	}
	defer a.asking.Unlock()
	last := a.said()
	if last.isOf(instance) && time.Since(last.at) < maxAge {
		return last // somebody asked meanwhile
	}
	next := look{at: time.Now(), generation: instance.Generation}
	next.link, next.err = a.connect(ctx, instance, last.link)
	if next.err == nil {
		next.digest, next.err = next.link.source.Resolve(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = next
	return next
}

// pull opens the artifact that a look found.
func (a *Artifacts) pull(ctx context.Context, found look) (*artifact.Catalog, error) {
	if found.err != nil {
		return nil, found.err
	}
	return a.Store.Open(ctx, found.link.source, found.digest, found.link.verifier)
}

// standIn opens what may take the place of an artifact that cannot be had: the last good one, else the built-in distribution.
func (a *Artifacts) standIn(ctx context.Context, found look, lastGood *v1.ArtifactStatus) (*artifact.Catalog, error) {
	if lastGood != nil && found.link != nil {
		if catalog, err := a.Store.Open(ctx, found.link.source, lastGood.Digest, found.link.verifier); err == nil {
			return catalog, nil
		}
	}
	return a.Builtin()
}

// known are the releases of the minors that this operator was built with.
func (a *Artifacts) known() ([]string, error) {
	catalog, err := a.Builtin()
	if err != nil {
		return nil, err
	}
	return catalog.Versions, catalog.Close()
}
