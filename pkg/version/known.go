package version

import (
	"slices"

	"github.com/Masterminds/semver/v3"
)

// Known returns those of the available releases whose major and minor appear among the known ones, in their order.
//
// A distribution from outside may bring newer patches of the minors that this operator was tested with, and never a minor it has not
// seen: such a release may need objects, rights or migrations that are not there yet.
func Known(available, known []string) []string {
	minors := map[[2]uint64]bool{}
	for _, name := range known {
		if minor, ok := minorOf(name); ok {
			minors[minor] = true
		}
	}
	var kept []string
	for _, name := range available {
		if minor, ok := minorOf(name); ok && minors[minor] {
			kept = append(kept, name)
		}
	}
	return kept
}

// Between returns the releases that may be gone through from one release to another, from the oldest to the newest: those of the available ones
// that are newer than where it begins and older than where it ends, and the end itself, whatever it is. A beginning that is no version, or
// empty, leaves out nothing. Names that are no versions are left out.
func Between(from, to string, available []string) []string {
	last, err := semver.NewVersion(to)
	if err != nil {
		return nil
	}
	first, err := semver.NewVersion(from)
	if err != nil {
		first = nil
	}
	parsed := map[string]*semver.Version{}
	var kept []string
	for _, name := range available {
		if v, err := semver.NewVersion(name); err == nil && v.LessThan(last) && (first == nil || v.GreaterThan(first)) {
			parsed[name] = v
			kept = append(kept, name)
		}
	}
	slices.SortFunc(kept, func(a, b string) int { return parsed[a].Compare(parsed[b]) })
	return append(kept, to)
}

func minorOf(name string) ([2]uint64, bool) {
	v, err := semver.NewVersion(name)
	if err != nil {
		return [2]uint64{}, false
	}
	return [2]uint64{v.Major(), v.Minor()}, true
}
