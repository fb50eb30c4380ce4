package migrate

import (
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/version"
)

// Step is what has to be done to the objects of one definition.
type Step struct {
	// Definition is the definition as it was in the cluster when the step was planned.
	Definition Definition
	// To is the version that is served before and after, and in which the objects end.
	To string
	// Rewrite tells whether all objects are stored anew, in the version To and no other. Otherwise only those are written whose managed
	// fields are in another version.
	Rewrite bool
}

// movesStorage tells whether the live definition stores objects in a version that goes away.
func (s Step) movesStorage() bool {
	return s.Rewrite && s.To != s.Definition.storage()
}

// Plan compares the live definitions with those that are wanted and returns what must be done before the wanted ones can be applied, in the
// order of the wanted ones: nothing for a definition that is new or loses no version. A definition with a stored version that is not wanted any
// more needs its objects rewritten in a version that both serve; a version that merely is no longer served is taken out of managed fields.
// If no version is served by both, the error joins a *StrandedError for each such definition, and Path tells the way out.
func Plan(live, wanted []Definition) ([]Step, error) {
	var steps []Step
	var refusals []error
	for _, want := range wanted {
		i := slices.IndexFunc(live, func(d Definition) bool { return d.Name == want.Name })
		if i < 0 {
			continue
		}
		step, needed, err := planOne(live[i], want)
		if needed {
			steps = append(steps, step)
		}
		refusals = append(refusals, err)
	}
	if err := errors.Join(refusals...); err != nil {
		return nil, err
	}
	return steps, nil
}

// planOne returns the step from one definition to another, and whether one is needed.
func planOne(live, want Definition) (Step, bool, error) {
	lost := without(live.Stored, want.names())
	gone := without(live.names(), want.served())
	if len(lost) == 0 && len(gone) == 0 {
		return Step{}, false, nil
	}
	both := common(live.served(), want.served())
	if len(both) == 0 && len(lost) > 0 {
		return Step{}, false, &StrandedError{Definition: live.Name, Stored: lost, Live: live.served(), Wanted: want.served()}
	}
	if len(both) == 0 {
		return Step{}, false, nil // nothing is lost, and there is no version to write in
	}
	return Step{Definition: live, To: bridge(both, live.storage(), want.storage()), Rewrite: len(lost) > 0}, true, nil
}

// bridge chooses the version to rewrite objects in: the one that they are stored in anyway, else the one that they will be stored in, else
// the most stable and newest.
func bridge(both []string, now, later string) string {
	for _, preferred := range []string{now, later} {
		if slices.Contains(both, preferred) {
			return preferred
		}
	}
	return slices.MaxFunc(both, version.CompareKubeAwareVersionStrings)
}

// Finish returns what is left to do once definitions were applied: to rewrite objects that are stored in another version than the storage
// version, and to carry managed fields over to that version. There is a step for each definition, since only the objects know the latter;
// a step that finds nothing to do writes nothing.
func Finish(live []Definition) []Step {
	steps := make([]Step, 0, len(live))
	for _, definition := range live {
		to := definition.storage()
		steps = append(steps, Step{Definition: definition, To: to, Rewrite: !slices.Equal(definition.Stored, []string{to})})
	}
	return steps
}

// Force returns the steps of Finish with all objects sent to the API server, for definitions that claim to be clean and are not. Objects that
// are stored in the storage version stay untouched even so.
func Force(live []Definition) []Step {
	steps := Finish(live)
	for i := range steps {
		steps[i].Rewrite = true
	}
	return steps
}
