package controllers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestAHangingRegistryHoldsUpNobody: while somebody waits for the registry, passes go on with what it said before.
func TestAHangingRegistryHoldsUpNobody(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	hangs, asked, release := make(chan bool, 1), make(chan struct{}), make(chan struct{})
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if len(hangs) > 0 {
			close(asked)
			<-release
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Length", "2")
	}))
	defer registry.Close()
	artifacts := &Artifacts{}
	instance := &v1.FluxInstance{}
	instance.Generation = 1
	instance.Spec.Distribution.Artifact = "oci://" + strings.TrimPrefix(registry.URL, "http://") + "/flux:latest"
	instance.Spec.Distribution.ArtifactSource = &v1.ArtifactSource{Insecure: true}
	first := artifacts.look(t.Context(), instance, time.Hour)
	if first.err != nil || first.digest != digest {
		t.Fatalf("the first look found %q, %v", first.digest, first.err)
	}

	hangs <- true
	done := make(chan look)
	go func() { done <- artifacts.look(context.WithoutCancel(t.Context()), instance, 0) }()
	<-asked
	if !artifacts.latest(instance).same(first) {
		t.Error("the last look is another one while the registry is asked")
	}
	if next := artifacts.look(t.Context(), instance, time.Nanosecond); !next.same(first) {
		t.Errorf("a pass found %q, %v while the registry hangs", next.digest, next.err)
	}
	<-hangs
	close(release)
	if last := <-done; last.err != nil || !last.same(first) {
		t.Errorf("the registry said %q, %v", last.digest, last.err)
	}
}
