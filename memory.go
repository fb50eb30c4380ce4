package main

import "runtime/debug"

// garbagePercent is how much garbage may gather before it is collected, in percent of what is in use. It is less than Go's default of 100, because
// the operator allocates little but for short bursts, lives long, and shares its node with others.
const garbagePercent = 50

// collectGarbage sets how often garbage is collected, unless the environment says it.
func collectGarbage(lookup func(string) (string, bool)) {
	if _, set := lookup("GOGC"); !set {
		debug.SetGCPercent(garbagePercent)
	}
}
