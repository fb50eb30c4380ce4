package testbed

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseAudit(t *testing.T) {
	const log = `{"auditID":"1","stage":"ResponseComplete","requestURI":"/api","verb":"get","user":{"username":"old"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}
{"auditID":"2","stage":"ResponseStarted","requestURI":"/api/v1/pods?watch=true","verb":"watch","user":{"username":"operator"},"userAgent":"flux-operator","responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:02.000000Z"}
{"auditID":"3","stage":"ResponseComplete","requestURI":"/api/v1/nodes","verb":"list","user":{"username":"other"},"responseStatus":{"code":403},"requestReceivedTimestamp":"2026-01-01T00:00:03.000000Z"}
{"auditID":"2","stage":"ResponseComplete","requestURI":"/api/v1/pods?watch=true","verb":"watch","user":{"username":"operator"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:02.000000Z"}
{"auditID":"4","stage":"Resp`
	since := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)
	got, err := parseAudit(strings.NewReader(log), since)
	if err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{User: "operator", Agent: "flux-operator", Verb: "watch", URI: "/api/v1/pods?watch=true", Code: 200, Received: since.Add(time.Second)},
		{User: "other", Verb: "list", URI: "/api/v1/nodes", Code: 403, Received: since.Add(2 * time.Second)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a watch counts once, old requests and half a line do not (-want +got):\n%s", diff)
	}
}

func TestParseAuditRefusesOtherFiles(t *testing.T) {
	if _, err := parseAudit(strings.NewReader("not JSON\n"), time.Time{}); err == nil {
		t.Error("a line that is not JSON was accepted")
	}
}
