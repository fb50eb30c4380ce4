package controllers

import (
	"net/http"
	"testing"
)

// TestEventsPassTheProxy: notification-controller is inside the cluster, whatever its domain is. What the user named may be outside.
func TestEventsPassTheProxy(t *testing.T) {
	direct := (&Notifier{Address: AutomaticEventsAddress}).sender()
	if transport, ok := direct.Transport.(*http.Transport); !ok || transport.Proxy != nil {
		t.Errorf("events for notification-controller go through a proxy: %v", direct.Transport)
	}
	if named := (&Notifier{Address: "https://events.example.com"}).sender(); named.Transport != nil {
		t.Errorf("events for elsewhere do not go as the environment says: %v", named.Transport)
	}
}
