package migrate

import (
	"fmt"
	"slices"
)

// Release is a release with the definitions that it brings.
type Release struct {
	// Version names the release, such as v2.9.4.
	Version string
	// Definitions are those that will be applied, which may be fewer than the release has.
	Definitions []Definition
}

// Path returns the releases to apply one after the other, each with its own Plan and Finish, so that no stored object is stranded. The releases
// are given from the oldest to the newest, the last of them is the one wanted and ends the path. Among the shortest paths the
// one through the newest releases is returned, so a release that can be applied at once gives a path of one. If no path exists,
// the error joins a *StrandedError for each definition that stands in the way of the wanted release.
func Path(live []Definition, releases []Release) ([]string, error) {
	if len(releases) == 0 {
		return nil, nil
	}
	last := len(releases) - 1
	reached := make([]bool, len(releases))
	for queue := []hop{{at: -1, live: live}}; len(queue) > 0; queue = queue[1:] {
		from := queue[0]
		if from.at == last {
			return from.path, nil
		}
		for i := last; i > from.at; i-- {
			if _, err := Plan(from.live, releases[i].Definitions); err != nil || reached[i] {
				continue
			}
			reached[i] = true
			queue = append(queue, from.to(i, releases[i]))
		}
	}
	_, err := Plan(live, releases[last].Definitions)
	return nil, fmt.Errorf("no available release leads to %q: %w", releases[last].Version, err)
}

// hop is the state of a cluster after some releases were applied.
type hop struct {
	at   int
	live []Definition
	path []string
}

// to returns the state after one more release: what it brings is there, stored in one version, and what it does not bring stays.
func (h hop) to(at int, release Release) hop {
	after := slices.Clone(release.Definitions)
	for i := range after {
		after[i].Stored = []string{after[i].storage()}
	}
	for _, definition := range h.live {
		if !slices.ContainsFunc(after, func(d Definition) bool { return d.Name == definition.Name }) {
			after = append(after, definition)
		}
	}
	return hop{at: at, live: after, path: append(slices.Clone(h.path), release.Version)}
}
