package plane

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
)

func TestAPIServerArgs(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		reason string
		config Config
		want   []string
	}{
		{"without pods", Config{Dir: dir, Port: 1}, []string{"--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"}},
		{
			"with pods", Config{Dir: dir, Port: 1, Address: "192.0.2.1"},
			[]string{"--bind-address=0.0.0.0", "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=lease"},
		},
		{"with an audit log", Config{Dir: dir, AuditLog: filepath.Join(dir, "audit", "log")}, []string{"--audit-policy-file=" + dir + "/audit-policy.json"}},
		{"with more", Config{Dir: dir, APIServerArgs: []string{"--more"}}, []string{"--more"}},
	} {
		p := &Plane{config: tc.config}
		args, err := p.apiServerArgs("http://127.0.0.1:1")
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
		}
		for _, want := range tc.want {
			if !slices.Contains(args, want) {
				t.Errorf("%s: %q is missing in %q", tc.reason, want, args)
			}
		}
	}
}

func TestPrepareWritesEveryKey(t *testing.T) {
	p := &Plane{config: Config{Dir: t.TempDir(), Address: "192.0.2.1"}}
	if err := p.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"ca.crt", "apiserver.key", "apiserver-kubelet.crt", "front-proxy.crt", "front-proxy-ca.crt", "service-accounts.key"} {
		if _, err := os.Stat(p.key(file)); err != nil {
			t.Error(err)
		}
	}
	if _, err := pki.ReadAuthority(p.keys(), "ca"); err != nil {
		t.Error(err)
	}
	if p.config.Port == 0 {
		t.Error("no port was chosen")
	}
}
