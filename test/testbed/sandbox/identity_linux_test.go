package sandbox

import (
	"os"
	"testing"
)

func TestParseIdentity(t *testing.T) {
	for _, tc := range []struct {
		reason, stat, want string
	}{
		{"a name with spaces and brackets", "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100", "4242"},
		{"ended, not reaped", "7 (a) Z 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100", ""},
		{"cut off", "7 (a) S 1", ""},
	} {
		got, err := parseIdentity(tc.stat)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: got %q, %v", tc.reason, got, err)
		}
	}
}

func TestIdentityOfThisProcess(t *testing.T) {
	first, err := Identity(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Identity(os.Getpid()); err != nil || second != first {
		t.Errorf("got %q, then %q (%v)", first, second, err)
	}
	if _, err := Identity(1 << 30); err == nil {
		t.Error("a process that cannot exist was found")
	}
}
