package render

import "testing"

// TestProxyFromEnvironment reads the names as Go's own programs do.
func TestProxyFromEnvironment(t *testing.T) {
	env := map[string]string{"HTTP_PROXY": "http://upper", "http_proxy": "http://lower", "https_proxy": "http://lower", "NO_PROXY": "", "no_proxy": ".lower"}
	proxy := ProxyFromEnvironment(func(name string) (string, bool) { value, found := env[name]; return value, found })
	if proxy.HTTP != "http://upper" || proxy.HTTPS != "http://lower" || proxy.No != ".lower" {
		t.Errorf("got %+v", proxy)
	}
	if ProxyFromEnvironment(func(string) (string, bool) { return "", false }).IsSet() {
		t.Error("there is no proxy")
	}
}
