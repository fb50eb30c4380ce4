package bench

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const auditLines = `{"auditID":"1","stage":"ResponseStarted","verb":"watch","userAgent":"op/1","requestURI":"/api/v1/services?watch=true","user":{"username":"me"},"objectRef":{"resource":"services"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:01.000000Z"}
{"auditID":"2","stage":"ResponseComplete","verb":"update","user":{"username":"me"},"objectRef":{"resource":"leases"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:02.000000Z"}
{"auditID":"3","stage":"ResponseComplete","verb":"patch","user":{"username":"me"},"objectRef":{"resource":"fluxinstances","subresource":"status"},"responseStatus":{"code":409},"requestReceivedTimestamp":"2026-01-01T00:00:03.000000Z"}
{"auditID":"4","stage":"ResponseComplete","verb":"get","requestURI":"/version?timeout=1s","user":{"username":"other"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:03.000000Z"}
{"auditID":"1","stage":"ResponseComplete","verb":"watch","user":{"username":"me"},"objectRef":{"resource":"services"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:01.000000Z"}
`

func TestAuditLogCountsEachRequestOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log := newAuditLog(path)
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	read := func() requests {
		t.Helper()
		found, err := log.between("me", from, from.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	half := len(auditLines) / 2 // in the middle of a line, as a reader may find it
	for _, content := range []string{auditLines[:half], auditLines} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		read()
	}
	found := read()
	if got, want := found.summary(), "1 patch fluxinstances/status (409), 1 update leases, 1 watch services"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if diff := cmp.Diff("1 patch fluxinstances/status (409), 1 watch services", found.work().summary()); diff != "" {
		t.Errorf("lease renewals are no work: %s", diff)
	}
	if first, ok := found.work().writes().first(); !ok || first.Second() != 3 {
		t.Errorf("first write at %v, %v", first, ok)
	}
}
