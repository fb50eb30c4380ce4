package artifact

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"oras.land/oras-go/v2/registry/remote/auth"
)

func config(name string, auths ...string) DockerConfig {
	return DockerConfig{Name: "secret " + name, JSON: []byte(`{"auths":{` + strings.Join(auths, ",") + `}}`)}
}

// login is an entry whose user is named after the key.
func login(key string) string {
	return fmt.Sprintf(`%q:{"auth":%q}`, key, base64.StdEncoding.EncodeToString([]byte(user(key)+":secret:with:colons")))
}

// user is a name without colons.
func user(key string) string { return strings.ReplaceAll(key, ":", ";") }

func TestCredentials(t *testing.T) {
	for _, tt := range []struct {
		reason, registry string
		configs          []DockerConfig
		want             string
	}{
		{"none", "ghcr.io", nil, ""},
		{"the host", "ghcr.io", []DockerConfig{config("a", login("ghcr.io"))}, "ghcr.io"},
		{"another host", "ghcr.io", []DockerConfig{config("a", login("quay.io"))}, ""},
		{"a subdomain is another host", "eu.ghcr.io", []DockerConfig{config("a", login("ghcr.io"))}, ""},
		{"the parent is another host", "ghcr.io", []DockerConfig{config("a", login("eu.ghcr.io"))}, ""},
		{"a URL", "ghcr.io", []DockerConfig{config("a", login("https://ghcr.io"))}, "https://ghcr.io"},
		{"a URL of the old API", "ghcr.io", []DockerConfig{config("a", login("https://ghcr.io/v1/"))}, "https://ghcr.io/v1/"},
		{"the port", "r.io:5000", []DockerConfig{config("a", login("r.io"), login("r.io:5000"))}, "r.io:5000"},
		{"no port is another registry", "r.io:5000", []DockerConfig{config("a", login("r.io"))}, ""},
		{"a path", "ghcr.io", []DockerConfig{config("a", login("ghcr.io/org"))}, "ghcr.io/org"},
		{"another path", "ghcr.io", []DockerConfig{config("a", login("ghcr.io/other"))}, ""},
		{"the longest path", "ghcr.io", []DockerConfig{config("a", login("ghcr.io"), login("ghcr.io/org/repo"), login("ghcr.io/org"))}, "ghcr.io/org/repo"},
		{"a wildcard", "eu.ghcr.io", []DockerConfig{config("a", login("*.ghcr.io"))}, "*.ghcr.io"},
		{"a wildcard is one label", "a.eu.ghcr.io", []DockerConfig{config("a", login("*.ghcr.io"))}, ""},
		{"the host before a wildcard", "eu.ghcr.io", []DockerConfig{config("a", login("*.ghcr.io"), login("eu.ghcr.io"))}, "eu.ghcr.io"},
		{"an IPv6 address", "[::1]:5000", []DockerConfig{config("a", login("[::1]:5000"))}, "[::1]:5000"},
		{"Docker Hub", "docker.io", []DockerConfig{config("a", login("https://index.docker.io/v1/"))}, "https://index.docker.io/v1/"},
		{"Docker Hub by its short name", "docker.io", []DockerConfig{config("a", login("docker.io"))}, "docker.io"},
		{"Docker Hub is no other registry", "ghcr.io", []DockerConfig{config("a", login("https://index.docker.io/v1/"))}, ""},
		{"the first configuration", "ghcr.io", []DockerConfig{config("a", login("ghcr.io")), config("b", login("ghcr.io/org"))}, "ghcr.io"},
		{"the first that has any", "ghcr.io", []DockerConfig{config("a", login("quay.io")), config("b", login("ghcr.io/org"))}, "ghcr.io/org"},
		{"user and password", "ghcr.io", []DockerConfig{config("a", `"ghcr.io":{"username":"me","password":"secret:with:colons"}`)}, "me"},
		{"a broken entry of another host", "ghcr.io", []DockerConfig{config("a", `"quay.io":{"auth":"?"}`, login("ghcr.io"))}, "ghcr.io"},
	} {
		ref := Reference{Registry: tt.registry, Repository: "org/repo", Tag: "latest"}
		credential, err := Access{DockerConfigs: tt.configs}.credential(ref)
		if err != nil {
			t.Errorf("%s: %v", tt.reason, err)
			continue
		}
		got, err := credential(t.Context(), ref.oras().Host())
		want := auth.Credential{Username: user(tt.want), Password: "secret:with:colons"}
		if tt.want == "" {
			want = auth.EmptyCredential
		}
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", tt.reason, got, err, want)
		}
		if other, _ := credential(t.Context(), "elsewhere.io"); other != auth.EmptyCredential {
			t.Errorf("%s: another host gets %v", tt.reason, other)
		}
	}
}

func TestTokensOfConfigurations(t *testing.T) {
	ref := Reference{Registry: "r.io", Repository: "repo"}
	for field, want := range map[string]auth.Credential{"identitytoken": {RefreshToken: "abc"}, "registrytoken": {AccessToken: "abc"}} {
		got, err := config("a", `"r.io":{"`+field+`":"abc"}`).find(ref)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", field, got, err)
		}
	}
}

func TestLogin(t *testing.T) {
	asked := 0
	cloud := func(_ context.Context, ref Reference) (auth.Credential, error) {
		asked++
		return auth.Credential{Username: "cloud", Password: ref.Registry}, nil
	}
	ref := Reference{Registry: "r.io", Repository: "repo"}
	for _, tt := range []struct {
		configs []DockerConfig
		host    string
		user    string
		asked   int
	}{
		{nil, "r.io", "cloud", 1},
		{nil, "elsewhere.io", "", 0},
		{[]DockerConfig{config("a", login("r.io"))}, "r.io", "r.io", 0},
		{[]DockerConfig{config("a", login("quay.io"))}, "r.io", "cloud", 1},
	} {
		asked = 0
		credential, err := Access{DockerConfigs: tt.configs, Login: cloud}.credential(ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := credential(t.Context(), tt.host)
		if err != nil || got.Username != tt.user || asked != tt.asked {
			t.Errorf("%v for %s: %v, %v, after %d logins", tt.configs, tt.host, got, err, asked)
		}
	}
}

func TestCredentialsFail(t *testing.T) {
	ref := Reference{Registry: "r.io", Repository: "repo"}
	for reason, config := range map[string]DockerConfig{
		"no JSON":         {Name: "secret pull", JSON: []byte("hunter2")},
		"wrong types":     config("pull", `"r.io":{"password":{"hunter2":1}}`),
		"no base64":       config("pull", `"r.io":{"auth":"hunter2!"}`),
		"no user":         config("pull", `"r.io":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("hunter2"))+`"}`),
		"empty":           {Name: "secret pull"},
		"no object":       {Name: "secret pull", JSON: []byte(`["hunter2"]`)},
		"entry is a text": config("pull", `"r.io":"hunter2"`),
	} {
		_, err := NewSource(ref, Access{DockerConfigs: []DockerConfig{config}})
		if err == nil || !strings.Contains(err.Error(), "secret pull") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want an error that names the secret and not its content", reason, err)
		}
	}
}
