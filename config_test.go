package main

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func TestConfigure(t *testing.T) {
	cases := map[string]struct {
		args  []string
		env   map[string]string
		check func(*config) bool
		fails string
	}{
		"defaults": {check: func(c *config) bool {
			return c.namespace == "flux-system" && c.metricsAddr == ":8080" && !c.metricsInsecure && c.pprofAddr == "" && c.leaderElection
		}},
		"flag":                    {args: []string{"--storage-path", "/else"}, check: func(c *config) bool { return c.storagePath == "/else" }},
		"environment":             {env: map[string]string{"RUNTIME_NAMESPACE": "flux"}, check: func(c *config) bool { return c.namespace == "flux" }},
		"environment beats flag":  {args: []string{"--log-level=error"}, env: map[string]string{"LOG_LEVEL": "debug"}, check: func(c *config) bool { return c.logLevel == "debug" }},
		"empty variable is unset": {args: []string{"--max-retry-delay=1m"}, env: map[string]string{"MAX_RETRY_DELAY": ""}, check: func(c *config) bool { return c.maxRetryDelay == time.Minute }},
		"list":                    {env: map[string]string{"OVERRIDE_MANAGERS": "terraform,pulumi"}, check: func(c *config) bool { return strings.Join(c.overrideManagers, "+") == "terraform+pulumi" }},
		"related image": {env: map[string]string{"RELATED_IMAGE_SOURCE_CONTROLLER": "a/b@sha256:1"}, check: func(c *config) bool {
			return len(c.relatedImages) == 1 && c.relatedImages[v1.SourceController] == "a/b@sha256:1"
		}},
		"events nowhere":      {env: map[string]string{"EVENTS_ADDR": "none"}, check: func(c *config) bool { return c.eventsAddr == "none" }},
		"bad events address":  {args: []string{"--events-addr=notification-controller"}, fails: "--events-addr"},
		"bad variable":        {env: map[string]string{"CONCURRENT": "many"}, fails: "CONCURRENT"},
		"bad flag":            {args: []string{"--nonsense"}, fails: "nonsense"},
		"argument":            {args: []string{"install"}, fails: "install"},
		"out of bounds":       {args: []string{"--concurrent=0"}, fails: "--concurrent"},
		"metric labels":       {env: map[string]string{"METRICS_LABELS": "kind,ready,reason"}, check: func(c *config) bool { return len(c.metricsLabels) == 3 }},
		"no metric label":     {env: map[string]string{"METRICS_LABELS": "ready,reasons"}, fails: `--metrics-labels: "reasons" is no label of these metrics; choose of path, ready,`},
		"bad level":           {args: []string{"--log-level=loud"}, fails: "--log-level"},
		"old TLS":             {args: []string{"--tls-min-version=VersionTLS11"}, fails: "--tls-min-version"},
		"unknown cipher":      {env: map[string]string{"TLS_CIPHER_SUITES": "ROT13"}, fails: "--tls-cipher-suites"},
		"insecure cipher":     {args: []string{"--tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA"}, fails: "is insecure"},
		"delays out of order": {args: []string{"--min-retry-delay=1h"}, fails: "--min-retry-delay"},
		"lease out of order":  {args: []string{"--leader-election-lease-duration=1s"}, fails: "--leader-election-lease-duration"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			config, err := configure(c.args, func(key string) (string, bool) { v, ok := c.env[key]; return v, ok })
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("error is %v, want one that names %s", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(config) {
				t.Errorf("got %+v", config)
			}
		})
	}
}

func TestMetricsAreSecureByDefault(t *testing.T) {
	if options := (&config{metricsAddr: ":8080"}).metrics(); !options.SecureServing || options.FilterProvider == nil {
		t.Error("metrics must be served over HTTPS with authentication")
	}
	if options := (&config{metricsAddr: ":8080", metricsInsecure: true}).metrics(); options.SecureServing {
		t.Error("plain HTTP was asked for")
	}
}
