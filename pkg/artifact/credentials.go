package artifact

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// dockerHub is what Docker Hub is called in references, and hubKeys what it is called in configurations.
const dockerHub = "docker.io"

var hubKeys = []string{"index.docker.io", dockerHub, "registry-1.docker.io"}

// entry holds the credentials for one registry.
type entry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// credential answers the registry of the reference and no other host.
func (a Access) credential(ref Reference) (auth.CredentialFunc, error) {
	static := auth.EmptyCredential
	for _, config := range a.DockerConfigs {
		found, err := config.find(ref)
		if err != nil {
			return nil, fmt.Errorf("reading the credentials in %s: %w", config.Name, err)
		}
		if found != auth.EmptyCredential {
			static = found
			break
		}
	}
	host := ref.oras().Host()
	return func(ctx context.Context, hostport string) (auth.Credential, error) {
		if hostport != host || (static == auth.EmptyCredential && a.Login == nil) {
			return auth.EmptyCredential, nil
		}
		if static != auth.EmptyCredential {
			return static, nil
		}
		return a.Login(ctx, ref)
	}, nil
}

// find returns the credentials of the most specific entry, as the kubelet does for images; empty when there is none.
func (c DockerConfig) find(ref Reference) (auth.Credential, error) {
	var config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if err := json.NewDecoder(bytes.NewReader(c.JSON)).Decode(&config); err != nil {
		return auth.EmptyCredential, errors.New(`it is no configuration of registries: it must be JSON, as in {"auths":{"registry.example.com":{"username":"…","password":"…"}}}`)
	}
	targets := []string{ref.Registry}
	if ref.Registry == dockerHub {
		targets = hubKeys
	}
	// Longer keys of the same host, and hosts without wildcards, come first in this order.
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(config.Auths))) {
		for _, host := range targets {
			if matches(key, host, "/"+ref.Repository) {
				return decode(config.Auths[key], key)
			}
		}
	}
	return auth.EmptyCredential, nil
}

// matches tells whether a key such as https://host/v1/, *.example.com or host:port/path is about the repository.
func matches(key, host, repository string) bool {
	if !strings.HasPrefix(key, "https://") && !strings.HasPrefix(key, "http://") {
		key = "https://" + key
	}
	pattern, err := url.Parse(key)
	if err != nil {
		return false
	}
	prefix := pattern.Path
	if strings.HasPrefix(prefix, "/v1/") || strings.HasPrefix(prefix, "/v2/") {
		prefix = prefix[len("/v1"):]
	}
	registry := &url.URL{Host: host}
	return pattern.Port() == registry.Port() && matchesHost(pattern.Hostname(), registry.Hostname()) && strings.HasPrefix(repository, prefix)
}

// matchesHost compares label by label, so that a wildcard stands for one label.
func matchesHost(pattern, host string) bool {
	patternLabels, labels := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(patternLabels) != len(labels) {
		return false
	}
	for i := range labels {
		if ok, err := path.Match(patternLabels[i], labels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// decode never quotes what it reads.
func decode(raw json.RawMessage, key string) (auth.Credential, error) {
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return auth.EmptyCredential, fmt.Errorf("the entry %q has fields of the wrong type", key)
	}
	if e.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(e.Auth)
		user, password, ok := strings.Cut(string(plain), ":")
		if err != nil || !ok {
			return auth.EmptyCredential, fmt.Errorf("the field auth of the entry %q must be user:password in base64", key)
		}
		e.Username, e.Password = user, strings.TrimRight(password, "\x00")
	}
	return auth.Credential{Username: e.Username, Password: e.Password, RefreshToken: e.IdentityToken, AccessToken: e.RegistryToken}, nil
}
