package bench

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		reason string
		of     sample
		q      float64
		want   float64
	}{
		{"the middle one of an odd number", sample{9, 1, 5}, 0.5, 5},
		{"between the middle ones of an even number", sample{4, 1, 3, 2}, 0.5, 2.5},
		{"the ends", sample{4, 1, 3, 2}, 1, 4},
		{"near the end", sample{0, 10}, 0.95, 9.5},
	} {
		if got := tc.of.quantile(tc.q); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", tc.reason, got, tc.want)
		}
	}
	if !math.IsNaN(sample(nil).median()) {
		t.Error("nothing measured has a median")
	}
}

func TestRatiosArePairwise(t *testing.T) {
	got := sample{2, 9}.over(sample{1, 3})
	if diff := cmp.Diff(sample{2, 3}, got); diff != "" {
		t.Error(diff)
	}
}
