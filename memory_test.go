package main

import (
	"runtime/debug"
	"testing"
)

func TestCollectGarbage(t *testing.T) {
	const before = 100
	for name, c := range map[string]struct {
		set  bool
		want int
	}{
		"by default":              {false, garbagePercent},
		"the environment says it": {true, before},
	} {
		original := debug.SetGCPercent(before)
		collectGarbage(func(string) (string, bool) { return "", c.set })
		if got := debug.SetGCPercent(original); got != c.want {
			t.Errorf("%s: %d percent, want %d", name, got, c.want)
		}
	}
}
