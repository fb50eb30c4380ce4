package version

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// RangeError tells that a version range cannot be understood; only whoever wrote it can mend it.
type RangeError struct {
	// Range is the text as the user wrote it.
	Range string
	// Err is what is wrong with it.
	Err error
}

// Error implements error.
func (e *RangeError) Error() string {
	return fmt.Sprintf("reading version range %q: %v", e.Range, e.Err)
}

// Unwrap returns the cause.
func (e *RangeError) Unwrap() error { return e.Err }

// NoMatchError tells that no available release is in the range; it may heal when the catalog changes.
type NoMatchError struct {
	// Range is the text as the user wrote it.
	Range string
	// Newest is the newest available release, empty when there is none at all.
	Newest string
}

// Error implements error.
func (e *NoMatchError) Error() string {
	if e.Newest == "" {
		return fmt.Sprintf("selecting a release in %q: the distribution holds no release", e.Range)
	}
	return fmt.Sprintf("selecting a release in %q: the distribution holds none, its newest is %s", e.Range, e.Newest)
}

// Select returns the newest of the available releases that is in the range, written as it is in available.
//
// A leading v is tolerated on both sides, names that are no versions are passed over, and a pre-release is chosen only where the
// range names one. Fails with *RangeError or *NoMatchError.
func Select(constraint string, available []string) (string, error) {
	if strings.TrimSpace(constraint) == "" {
		return "", &RangeError{Range: constraint, Err: fmt.Errorf("it is empty; a release such as 2.9.4 or a range such as 2.x is needed")}
	}
	wanted, err := semver.NewConstraint(constraint)
	if err != nil {
		return "", &RangeError{Range: constraint, Err: err}
	}
	if name := newest(available, wanted.Check); name != "" {
		return name, nil
	}
	return "", &NoMatchError{Range: constraint, Newest: Newest(available)}
}

// Newest returns the newest release of available as written there: a final one where there is any, else the newest pre-release,
// empty when nothing in available is a version.
func Newest(available []string) string {
	if name := newest(available, func(v *semver.Version) bool { return v.Prerelease() == "" }); name != "" {
		return name
	}
	return newest(available, func(*semver.Version) bool { return true })
}

// Newer returns the newest final release of available that is newer than the given one, as written there; empty when there is none.
func Newer(release string, available []string) string {
	chosen, err := semver.NewVersion(release)
	if err != nil {
		return ""
	}
	return newest(available, func(v *semver.Version) bool { return v.Prerelease() == "" && v.GreaterThan(chosen) })
}

func newest(available []string, accept func(*semver.Version) bool) string {
	var name string
	var best *semver.Version
	for _, candidate := range available {
		v, err := semver.NewVersion(candidate)
		if err != nil || !accept(v) {
			continue
		}
		if best == nil || v.GreaterThan(best) {
			name, best = candidate, v
		}
	}
	return name
}
