package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		reason, content string
		want            []map[string]any
	}{
		{"nothing", "", nil},
		{"empty documents", "---\n---\n# only a comment\n---\n", nil},
		{"several documents", "a: 1\n---\nb: 2\n", []map[string]any{{"a": int64(1)}, {"b": int64(2)}}},
		{"scalars", "i: 7\nh: 0x10\nf: 1.5\nb: true\nn: null\ne:\ns: text\nq: \"1\"\nt: 2024-01-02\n", []map[string]any{{
			"i": int64(7), "h": int64(16), "f": 1.5, "b": true, "n": nil, "e": nil, "s": "text", "q": "1", "t": "2024-01-02",
		}}},
		{"words that kubectl takes for booleans", "a: yes\nb: off\nc: \"yes\"\nd: y\n", []map[string]any{{"a": true, "b": false, "c": "yes", "d": "y"}}},
		{"nesting", "a: [1, {b: [c]}]\n", []map[string]any{{"a": []any{int64(1), map[string]any{"b": []any{"c"}}}}}},
		{"block text", "a: |\n  x\n  y\n", []map[string]any{{"a": "x\ny\n"}}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := parse([]byte(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ reason, content, want string }{
		{"an alias", "a: &x [1]\nb: *x\n", "alias"},
		{"a bomb", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "alias"},
		{"a merge key", "a: &x {b: 1}\nc:\n  <<: *x\n", ""},
		{"a repeated key", "a: 1\na: 2\n", "repeated"},
		{"a key that is no string", "1: a\n", "not a string"},
		{"a foreign tag", "a: !thing x\n", "tag"},
		{"binary data", "a: !!binary aGk=\n", "tag"},
		{"a number that JSON has not", "a: .nan\n", "number"},
		{"a list", "- a\n", "not an object"},
		{"deep nesting", strings.Repeat("[", 200) + strings.Repeat("]", 200), "deep"},
		{"far too many documents", strings.Repeat("---\na: 1\n", maxDocuments+1), "documents"},
		{"no YAML", "\t{", ""},
	} {
		if got, err := parse([]byte(tt.content)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v; want an error with %q", tt.reason, got, err, tt.want)
		}
	}
}
