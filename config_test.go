package main

import (
	"strings"
	"testing"
	"time"
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
		"bad variable":            {env: map[string]string{"CONCURRENT": "many"}, fails: "CONCURRENT"},
		"bad flag":                {args: []string{"--nonsense"}, fails: "nonsense"},
		"argument":                {args: []string{"install"}, fails: "install"},
		"out of bounds":           {args: []string{"--concurrent=0"}, fails: "--concurrent"},
		"bad level":               {args: []string{"--log-level=loud"}, fails: "--log-level"},
		"delays out of order":     {args: []string{"--min-retry-delay=1h"}, fails: "--min-retry-delay"},
		"lease out of order":      {args: []string{"--leader-election-lease-duration=1s"}, fails: "--leader-election-lease-duration"},
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
