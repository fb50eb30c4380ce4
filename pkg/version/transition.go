package version

import (
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// DowngradeError tells that a release is of an older major or minor than the one that runs.
type DowngradeError struct {
	// From is the release that runs.
	From string
	// To is the release that was asked for.
	To string
}

// Error implements error.
func (e *DowngradeError) Error() string {
	return fmt.Sprintf("moving from %s to %s: going back to an older minor is not supported, stored objects may not be readable; uninstall first, then install %s",
		e.From, e.To, e.To)
}

// CheckTransition tells whether a cluster may go from one release to another.
//
// An older major or minor is refused with *DowngradeError, an older patch of the same minor is fine, and an empty from means that
// nothing runs yet. Other errors mean that one of the two is no version.
func CheckTransition(from, to string) error {
	target, err := semver.NewVersion(to)
	if err != nil {
		return fmt.Errorf("reading version %q: %w", to, err)
	}
	if from == "" {
		return nil
	}
	running, err := semver.NewVersion(from)
	if err != nil {
		return fmt.Errorf("reading version %q: %w", from, err)
	}
	older := target.Major() < running.Major() ||
		target.Major() == running.Major() && target.Minor() < running.Minor()
	if older {
		return &DowngradeError{From: from, To: to}
	}
	return nil
}

// SameMinor tells whether two releases are patches of one minor. What is no version is of no minor.
func SameMinor(a, b string) bool {
	first, err := semver.NewVersion(a)
	if err != nil {
		return false
	}
	second, err := semver.NewVersion(b)
	return err == nil && first.Major() == second.Major() && first.Minor() == second.Minor()
}
