package bench

import (
	"context"
	"fmt"
	"slices"
)

const (
	fewObjects, manyObjects, mostObjects = 1_000, 10_000, 50_000
	// oldShare is one in how many objects is stored in the old version where not all are.
	oldShare = 10
	// limitShare is the share of the API server's limit that the operator has to reach.
	limitShare = 0.8
	// flat is what fifty times the objects may take more memory.
	flat = 1.25
)

// benchLifecycle measures what is done to every object that Flux's users have: migrations of what is stored, and the end of finalizers.
func (b *bench) benchLifecycle(ctx context.Context) (Part, error) {
	many := &stored{objects: manyObjects, old: manyObjects, whole: true}
	tenth := &stored{objects: manyObjects, old: manyObjects / oldShare}
	for _, s := range []*stored{many, tenth} {
		if err := b.goThrough(ctx, s); err != nil {
			return Part{}, fmt.Errorf("with %d objects, %d of them stored in an old version: %w", s.objects, s.old, err)
		}
	}
	growing := []*alone{{objects: fewObjects}, {objects: manyObjects}, {objects: mostObjects}}
	for _, a := range growing {
		if err := b.goAlone(ctx, a); err != nil {
			return Part{}, fmt.Errorf("with %d objects, in fresh processes: %w", a.objects, err)
		}
	}
	most := growing[len(growing)-1]
	return Part{
		Title: "Lifecycle",
		Method: fmt.Sprintf("A cluster holds Kustomizations with Flux's finalizer, stored in %s as Flux %s has it. A fresh operator installs %s, which does not know that version, so all objects have to be rewritten before; "+
			"then a fresh operator uninstalls. The rate is that of the requests for these objects in the audit log, from the first to the last. "+
			"The limit is what the API server takes from a plain client that sends the same patches, made ready before, for as many objects of a copy of the definition, %d at a time as the operator does: half of them before the operator, half of them after. "+
			"Memory is read every %s. Whether it grows with the number of objects is measured of the code that goes through them, in fresh processes without the rest of the operator.", oldVersion, storedRelease, b.distribution.release, operatorConcurrency, memoryPoll),
		Figures: slices.Concat(many.rates(), tenth.tenths(), flatness(growing), many.memory()),
		Notes: []string{
			fmt.Sprintf("With %d objects, of which one in %d is stored in the old version, the operator sends a request for each, and the API server writes only those that are stored in another version than it would store them in.", tenth.objects, oldShare),
			fmt.Sprintf("With %d objects, all stored in the old version: migrated in %.0f s, released in %.0f s.", most.objects, most.migration.Seconds, most.release.Seconds),
		},
	}, nil
}

// measuredOnce says how far the shares of the limit can be trusted.
const measuredOnce = "The work is measured once, its limit before and after it, each for some 20 seconds, and on a shared machine both vary: three runs of the same code gave 0.79 to 0.86 for the migration and 0.77 to 1.12 for the removal."

// rates are the figures of objects that are all stored in the old version.
func (s *stored) rates() []Figure {
	return []Figure{
		ofLimit(fmt.Sprintf("migration of %d objects against the limit", s.objects), sample{s.migration.rate() / s.migration.limitRate()}).because(measuredOnce),
		measured("migration", perSecond, sample{s.migration.rate()}).besides("97 objects/s"),
		measured("the API server's limit for the same writes", perSecond, sample{s.migration.limitRate()}),
		ofLimit(fmt.Sprintf("removal of %d finalizers against the limit", s.objects), sample{s.release.rate() / s.release.limitRate()}).because(measuredOnce),
		measured("removal of finalizers", perSecond, sample{s.release.rate()}).besides("139 objects/s"),
		measured("the API server's limit for the same writes", perSecond, sample{s.release.limitRate()}),
		measured(fmt.Sprintf("uninstall with %d finalized objects, until all is gone", s.objects), seconds, sample{s.uninstall.Seconds()}).besides("103 s"),
	}
}

// tenths are the figures of objects of which few are stored in the old version.
func (s *stored) tenths() []Figure {
	return []Figure{
		atMost(fmt.Sprintf("one in %d of %d objects is old: objects written", oldShare, s.objects), count, sample{float64(s.rewritten)}, float64(s.old)).besides("10000"),
		measured("the same, objects gone through", perSecond, sample{s.migration.rate()}),
	}
}

// memory are the figures of the whole operator's memory: it renders a release and watches as well.
func (s *stored) memory() []Figure {
	return []Figure{
		measured(fmt.Sprintf("peak memory of the operator, %d objects: migration, anonymous", s.objects), mebibytes, sample{inMiB(s.migration.peak.anon)}),
		measured("the same, RSS in all", mebibytes, sample{inMiB(s.migration.peak.peak)}).besides("318 MiB"),
		measured(fmt.Sprintf("peak memory of the operator, %d objects: uninstall, anonymous", s.objects), mebibytes, sample{inMiB(s.release.peak.anon)}),
		measured("the same, RSS in all", mebibytes, sample{inMiB(s.release.peak.peak)}).besides("611 MiB"),
	}
}

// flatness are the figures of the memory that goes with the number of objects.
func flatness(growing []*alone) []Figure {
	few, most := growing[0], growing[len(growing)-1]
	figures := []Figure{
		atMost(fmt.Sprintf("peak memory of a migration, anonymous, %d objects against %d", most.objects, few.objects), ratio,
			sample{float64(most.migration.Peak) / float64(few.migration.Peak)}, flat),
		atMost(fmt.Sprintf("peak memory of a removal of finalizers, anonymous, %d objects against %d", most.objects, few.objects), ratio,
			sample{float64(most.release.Peak) / float64(few.release.Peak)}, flat),
	}
	for _, a := range growing {
		figures = append(figures,
			measured(fmt.Sprintf("migration of %d objects", a.objects), mebibytes, sample{inMiB(a.migration.Peak)}),
			measured(fmt.Sprintf("removal of %d finalizers", a.objects), mebibytes, sample{inMiB(a.release.Peak)}))
	}
	return figures
}
