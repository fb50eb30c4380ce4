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

	mu   sync.Mutex
	last look
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

// latest is the last look for this instance; the zero look when it names no artifact.
func (a *Artifacts) latest(instance *v1.FluxInstance) look {
	if instance.Spec.Distribution.Artifact == "" {
		return look{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// look asks the registry which digest the artifact has now, unless it was asked for this spec less than maxAge ago.
// While one caller asks, others wait for the same answer.
func (a *Artifacts) look(ctx context.Context, instance *v1.FluxInstance, maxAge time.Duration) look {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last.generation == instance.Generation && time.Since(a.last.at) < maxAge {
		return a.last
	}
	next := look{at: time.Now(), generation: instance.Generation}
	next.link, next.err = a.connect(ctx, instance, a.last.link)
	if next.err == nil {
		next.digest, next.err = next.link.source.Resolve(ctx)
	}
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
