package bench

import (
	"strings"
	"testing"
	"time"
)

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		reason string
		got    Figure
		value  string
		want   string
	}{
		{"the median decides", atMost("x", ratio, sample{1.2, 1.3, 9}, 1.3), "1.30 × (1.20–9.00)", "met"},
		{"by how much it is missed", atMost("x", milliseconds, sample{150}, 100), "150 ms", "missed by 50 %"},
		{"nothing is allowed", atMost("x", perPass, sample{0.5, 0.5}, 0), "0.5 (0.5–0.5)", "missed by 0.5"},
		{"nothing is needed", atMost("x", perPass, sample{0, 0}, 0), "0.0 (0.0–0.0)", "met"},
		{"a limit is reached", ofLimit("x", sample{0.8}), "0.80 ×", "met"},
		{"a limit is not reached", ofLimit("x", sample{0.6}), "0.60 ×", "missed by 25 %"},
		{"without a target", measured("x", mebibytes, sample{3}), "3.0 MiB", ""},
	} {
		if tc.got.Value != tc.value || tc.got.verdict() != tc.want {
			t.Errorf("%s: got %q, %q; want %q, %q", tc.reason, tc.got.Value, tc.got.verdict(), tc.value, tc.want)
		}
	}
}

func TestDocumentTellsWhyATargetIsMissed(t *testing.T) {
	part := Part{Title: "Title", Method: "Method.", Figures: []Figure{
		atMost("late", seconds, sample{2}, 1).because("It is slow."),
		atMost("soon", seconds, sample{1}, 2).because("Nobody reads this.").besides("5 s"),
	}, Notes: []string{"A note."}}
	var page strings.Builder
	Document(&page, Machine{Took: 4 * time.Minute, Command: "make bench"}, []Part{part})
	for _, want := range []string{
		"| late | 2.00 s | ≤ 1.00 s | missed by 100 % |  |",
		"| soon | 1.00 s | ≤ 2.00 s | met | 5 s |",
		"\n- **Missed: late** (by 100 %). It is slow.\n- A note.\n",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%q is not in\n%s", want, page.String())
		}
	}
	if strings.Contains(page.String(), "Nobody reads this") {
		t.Error("a met target is explained")
	}
	if missed := Missed([]Part{part}); len(missed) != 1 || missed[0].Name != "late" {
		t.Errorf("missed: %v", missed)
	}
}
