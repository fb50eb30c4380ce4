package artifact

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// publisher publishes authorities by The Update Framework, as the public Sigstore instance does.
type publisher struct {
	mirror

	files    map[string][]byte
	requests atomic.Int32
	server   *httptest.Server
}

func publish(t *testing.T, trustedRoot []byte, expires time.Time) *publisher {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	signer, err := sigstore.LoadSigner(key, crypto.Hash(0))
	must(t, err)
	public, err := metadata.KeyFromPublicKey(key.Public())
	must(t, err)

	root, targets, snapshot, timestamp := metadata.Root(expires), metadata.Targets(expires), metadata.Snapshot(expires), metadata.Timestamp(expires)
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		must(t, root.Signed.AddKey(public, role))
	}
	target, err := metadata.TargetFile().FromBytes("trusted_root.json", trustedRoot, "sha256")
	must(t, err)
	targets.Signed.Targets["trusted_root.json"] = target
	for _, role := range []interface {
		Sign(signer sigstore.Signer) (*metadata.Signature, error)
	}{root, targets, snapshot, timestamp} {
		_, err := role.Sign(signer)
		must(t, err)
	}

	p := &publisher{files: map[string][]byte{}}
	for path, role := range map[string]interface {
		ToBytes(pretty bool) ([]byte, error)
	}{
		"/1.root.json": root, "/1.targets.json": targets, "/1.snapshot.json": snapshot, "/timestamp.json": timestamp,
	} {
		p.files[path], err = role.ToBytes(false)
		must(t, err)
	}
	p.files[fmt.Sprintf("/targets/%s.trusted_root.json", target.Hashes["sha256"])] = trustedRoot
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	p.mirror = mirror{url: p.server.URL, anchor: p.files["/1.root.json"]}
	return p
}

func (p *publisher) serve(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	file, ok := p.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(file)
}

// aDayLater makes the cache believe that its content was fetched two days ago.
func (p *publisher) aDayLater(t *testing.T, cache string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cache, "*.json"))
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("the cache has %q, want one file that says when it was filled", found)
	}
	must(t, os.WriteFile(found[0], fmt.Appendf(nil, `{"lastTimestamp":%q}`, time.Now().AddDate(0, 0, -2).Format(time.RFC3339)), 0o600))
}

func TestPublicAuthorities(t *testing.T) {
	lab := newLab(t)
	a := newArtifact(t, byAPI)
	a.attach(lab.legacy(lab.certify(goodSubject, goodIssuer, time.Now().Add(-time.Minute)), a.payload()))
	check := func(t *testing.T, ctx context.Context, p *publisher, options VerifyOptions) error {
		t.Helper()
		options.Identities = []Identity{goodIdentity}
		verifier, err := newVerifier(options, p.mirror)
		must(t, err)
		who, err := verifier.Verify(ctx, a, a.subject)
		if want := (Verification{Issuer: goodIssuer, Subject: goodSubject}); err == nil && who != want {
			t.Errorf("verified by %+v, want %+v", who, want)
		}
		return err
	}

	t.Run("are fetched once a day", func(t *testing.T) {
		p, options := publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7)), VerifyOptions{RootCache: t.TempDir()}
		must(t, check(t, t.Context(), p, options))
		fetched := p.requests.Load()
		must(t, check(t, t.Context(), p, options))
		if again := p.requests.Load(); again != fetched || fetched > 6 {
			t.Errorf("%d requests for the first signature and %d for the second, want at most 6 and none", fetched, again-fetched)
		}
		p.aDayLater(t, options.RootCache)
		must(t, check(t, t.Context(), p, options))
		if again := p.requests.Load(); again == fetched {
			t.Error("no request on the next day")
		}
	})
	t.Run("are kept while the publisher is away", func(t *testing.T) {
		p, options := publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7)), VerifyOptions{RootCache: t.TempDir()}
		must(t, check(t, t.Context(), p, options))
		p.aDayLater(t, options.RootCache)
		p.server.Close()
		must(t, check(t, t.Context(), p, options))
	})
	t.Run("without a cache", func(t *testing.T) {
		must(t, check(t, t.Context(), publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7)), VerifyOptions{}))
	})
	t.Run("through the proxy", func(t *testing.T) {
		p := publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7))
		var seen atomic.Int32
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := proxyUser(r); user == "me" && password == "secret" {
				seen.Add(1)
			}
			p.serve(w, r)
		}))
		defer proxy.Close()
		address, err := url.Parse(proxy.URL)
		must(t, err)
		address.User = url.UserPassword("me", "secret")
		must(t, check(t, t.Context(), p, VerifyOptions{Proxy: address}))
		if seen.Load() == 0 || seen.Load() != p.requests.Load() {
			t.Errorf("%d of %d requests went through the proxy", seen.Load(), p.requests.Load())
		}
	})

	fails := func(name string, p *publisher, words ...string) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := check(t, ctx, p, VerifyOptions{RootCache: t.TempDir()})
			for _, word := range append(words, p.url, "trusted_root.json") {
				if err == nil || !strings.Contains(err.Error(), word) {
					t.Errorf("error is %v, want %q in it", err, word)
				}
			}
		})
	}
	away := publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7))
	away.server.Close()
	fails("cannot be had", away, "connection refused")
	fails("are expired", publish(t, lab.trustedRoot(), time.Now().Add(-time.Minute)), "expired")
	forged := publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7))
	forged.files["/1.targets.json"] = publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7)).files["/1.targets.json"]
	fails("are forged", forged, "targets")
}

func TestPublicAuthoritiesRespectDeadline(t *testing.T) {
	lab := newLab(t)
	p := publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7))
	hang := make(chan struct{})
	p.server.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	verifier, err := newVerifier(VerifyOptions{Identities: []Identity{goodIdentity}}, p.mirror)
	must(t, err)
	a := newArtifact(t, byAPI)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := verifier.Verify(ctx, a, a.subject); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("error is %v after %s, want one at the deadline", err, time.Since(began))
	}
}

func proxyUser(r *http.Request) (user, password string, ok bool) {
	return (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
}
