package node

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestTemplates(t *testing.T) {
	n := &starter{config: Config{Dir: t.TempDir()}}
	data := paths{
		Config: Config{Dir: "/d", Cgroup: "pods", SandboxImage: "r:5000/pause:1"}, NodeName: Name, NodeIP: IP, PodCIDR: PodCIDR,
		ClusterDNS: DNSIP, RunDir: runDir, Kubeconfig: "/k", ClientCA: "/ca", CNIBin: "/cni", Runc: "/runc", Snapshotter: "overlayfs",
	}
	for name, text := range map[string]string{
		"containerd.toml": containerdTemplate, "kubelet.yaml": kubeletTemplate, "kube-proxy.yaml": proxyTemplate, "cni/pods.json": cniTemplate,
	} {
		path, err := n.write(name, text, data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var parsed map[string]any
		if strings.HasSuffix(name, ".toml") {
			continue
		}
		if err := yaml.UnmarshalStrict(content, &parsed); err != nil {
			t.Errorf("%s is not YAML: %v", name, err)
		}
	}
}

func TestReady(t *testing.T) {
	for _, tc := range []struct {
		reason, answer string
		err            error
		want           string
	}{
		{"ready", `{"status": {"conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]}}`, nil, ""},
		{"not ready", `{"status": {"conditions": [{"type": "Ready", "status": "False", "message": "no network"}]}}`, nil, "no network"},
		{"new", `{}`, nil, "not reported"},
		{"absent", ``, errors.New("404"), "404"},
		{"nonsense", `[`, nil, "parsing"},
	} {
		err := Ready(context.Background(), func(context.Context, string, int64) ([]byte, error) { return []byte(tc.answer), tc.err })
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", tc.reason, err)
		}
	}
}
