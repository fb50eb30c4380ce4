package httpd_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/httpd"
)

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func get(t *testing.T, client *http.Client, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(body), err
}

func TestStartServesPlainAndTLS(t *testing.T) {
	donor := httptest.NewTLSServer(nil)
	defer donor.Close()

	cases := map[string]struct {
		opts   httpd.Options
		client *http.Client
	}{
		"Plain": {client: &http.Client{Timeout: 10 * time.Second}},
		"TLS":   {opts: httpd.Options{TLS: donor.TLS}, client: donor.Client()},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, err := httpd.Start(t.Context(), http.HandlerFunc(hello), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := get(t, tc.client, s.URL); err != nil || body != "hello" {
				t.Errorf("body %q, error %v", body, err)
			}
			for range 2 {
				if err := s.Close(t.Context()); err != nil {
					t.Errorf("closing: %v", err)
				}
			}
			if _, err := get(t, tc.client, s.URL); err == nil {
				t.Error("the server answers after Close")
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := httpd.Start(ctx, http.HandlerFunc(hello), httpd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("closing: %v", err)
	}
	if _, err := get(t, http.DefaultClient, s.URL); err == nil {
		t.Error("the server answers after its context ended")
	}
}

func TestStartNamesTheAddressItCannotHave(t *testing.T) {
	s, err := httpd.Start(t.Context(), http.HandlerFunc(hello), httpd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	if _, err := httpd.Start(t.Context(), http.HandlerFunc(hello), httpd.Options{Addr: s.Addr}); err == nil {
		t.Error("two servers share one address")
	}
}

func TestProtect(t *testing.T) {
	cases := map[string]struct {
		want     httpd.Credentials
		user     string
		password string
		send     bool
		code     int
	}{
		"Open":          {code: http.StatusOK},
		"Right":         {want: httpd.Credentials{User: "u", Password: "p"}, send: true, user: "u", password: "p", code: http.StatusOK},
		"WrongPassword": {want: httpd.Credentials{User: "u", Password: "p"}, send: true, user: "u", password: "x", code: http.StatusUnauthorized},
		"WrongUser":     {want: httpd.Credentials{User: "u", Password: "p"}, send: true, user: "x", password: "p", code: http.StatusUnauthorized},
		"None":          {want: httpd.Credentials{User: "u", Password: "p"}, code: http.StatusUnauthorized},
		"EmptyPassword": {want: httpd.Credentials{User: "u"}, send: true, user: "u", code: http.StatusOK},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tc.send {
				r.SetBasicAuth(tc.user, tc.password)
			}
			w := httptest.NewRecorder()
			tc.want.Protect("test", http.HandlerFunc(hello)).ServeHTTP(w, r)
			if w.Code != tc.code {
				t.Errorf("status %d, want %d", w.Code, tc.code)
			}
			if asks := w.Header().Get("WWW-Authenticate") != ""; asks != (tc.code == http.StatusUnauthorized) {
				t.Errorf("WWW-Authenticate is %q with status %d", w.Header().Get("WWW-Authenticate"), w.Code)
			}
		})
	}
}
