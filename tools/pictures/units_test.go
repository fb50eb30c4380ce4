package main

import (
	"encoding/json"
	"testing"
)

func TestShow(t *testing.T) {
	for _, c := range []struct {
		field string
		value float64
		want  string
	}{
		{`{}`, 0, "0"}, {`{}`, 19, "19"}, {`{}`, 1234, "1.23 K"}, {`{}`, 0.025, "0.025"},
		{`{"unit": "bytes"}`, 20 << 20, "20 MiB"}, {`{"unit": "s"}`, 0.25, "250 ms"}, {`{"unit": "s"}`, 17.31, "17.3 s"}, {`{"unit": "s"}`, 300, "5 min"},
		{`{"unit": "ops"}`, 0.75, "0.75 ops/s"}, {`{"unit": "dateTimeFromNow"}`, 880_000, "2 minutes ago"},
		{`{"mappings": [{"options": {"0.5": {"text": "in progress"}}}]}`, 0.5, "in progress"},
	} {
		if got := fieldOf(t, c.field).show(c.value, 1000); got != c.want {
			t.Errorf("%s shows %v as %q, want %q", c.field, c.value, got, c.want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		field   string
		highest float64
		top     float64
		count   int
	}{
		{`{}`, 0, 1, 2}, {`{}`, 19, 20, 5}, {`{}`, 0.029, 0.03, 4}, {`{"unit": "bytes"}`, 77 << 20, 80 << 20, 5},
	} {
		top, count := fieldOf(t, c.field).ticks(c.highest, 4)
		if diff := top - c.top; diff > 1e-9 || diff < -1e-9 || count != c.count {
			t.Errorf("%s up to %v: the axis ends at %v with %d values, want %v with %d", c.field, c.highest, top, count, c.top, c.count)
		}
	}
}

func TestShade(t *testing.T) {
	f := fieldOf(t, `{"thresholds": {"steps": [{"color": "red", "value": null}, {"color": "yellow", "value": 0.5}, {"color": "green", "value": 1}]}}`)
	for value, want := range map[float64]string{0: "red", 0.5: "yellow", 0.9: "yellow", 1: "green", 7: "green"} {
		if got := f.shade(value); got != want {
			t.Errorf("%v is %s, want %s", value, got, want)
		}
	}
}

// TestDraw refuses a panel that nobody knows how to draw, and draws one without data.
func TestDraw(t *testing.T) {
	d := &dashboard{Title: "Test", To: 60, Step: 1, Panels: []panel{{Title: "Odd", Type: "heatmap"}}, Series: [][][]series{{}}}
	d.Panels[0].GridPos.W, d.Panels[0].GridPos.H = 12, 8
	if _, err := d.draw(); err != nil {
		t.Errorf("drawing without data: %v", err)
	}
	d.Panels[0].Targets = append(d.Panels[0].Targets, struct {
		Legend string `json:"legendFormat"`
	}{})
	d.Series[0] = [][]series{{{}}}
	if _, err := d.draw(); err == nil {
		t.Error("a heatmap was drawn")
	}
}

func fieldOf(t *testing.T, text string) *field {
	t.Helper()
	f := &field{}
	if err := json.Unmarshal([]byte(text), f); err != nil {
		t.Fatal(err)
	}
	return f
}
