package main

import (
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spf13/pflag"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestEveryFlagHasAVariable: a Subscription of the Operator Lifecycle Manager can set variables but no flags.
func TestEveryFlagHasAVariable(t *testing.T) {
	defaults := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&config{}).bind(defaults)
	values := map[string]string{"bool": "true", "int": "7", "duration": "77s", "string": "seven", "stringSlice": "seven,eight"}
	seen := 0
	defaults.VisitAll(func(flag *pflag.Flag) {
		seen++
		value, known := values[flag.Value.Type()]
		if !known {
			t.Fatalf("--%s is a %s, of which this test has no value", flag.Name, flag.Value.Type())
		}
		if value == flag.DefValue {
			value = "false"
		}
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		(&config{}).bind(fs)
		name := strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		err := fromEnvironment(fs, func(key string) (string, bool) { return value, key == name })
		if got := strings.Trim(fs.Lookup(flag.Name).Value.String(), "[]"); err != nil || strings.TrimSuffix(got, "s") != strings.TrimSuffix(durationText(value), "s") {
			t.Errorf("%s=%s gives --%s=%s: %v", name, value, flag.Name, got, err)
		}
	})
	if seen < 20 {
		t.Errorf("only %d flags were found", seen)
	}
}

// durationText is how a duration prints.
func durationText(value string) string {
	if value == "77s" {
		return "1m17s"
	}
	return value
}

// TestInstancesKeepTheirManagedFields: they tell whether somebody wrote the type of the cluster.
func TestInstancesKeepTheirManagedFields(t *testing.T) {
	for obj, options := range (&config{namespace: "flux-system"}).reportCache().ByObject {
		if _, ok := obj.(*v1.FluxInstance); !ok {
			continue
		}
		instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "user"}}}}
		if _, err := options.Transform(instance); err != nil || len(instance.ManagedFields) != 1 {
			t.Errorf("got %v, %v", instance.ManagedFields, err)
		}
		return
	}
	t.Error("the cache has no rule for instances")
}

// TestReachClusterDirectly: a proxy that was given without exceptions is no way to the API server.
func TestReachClusterDirectly(t *testing.T) {
	env := map[string]string{"KUBERNETES_SERVICE_HOST": "172.30.0.1", "NO_PROXY": ".example.com"}
	for _, want := range []string{"as it was", ".example.com,172.30.0.1,.svc,.svc.,.cluster.local,.cluster.local."} {
		t.Setenv("NO_PROXY", "as it was")
		c, err := configure(nil, func(key string) (string, bool) { value, found := env[key]; return value, found })
		if err != nil {
			t.Fatal(err)
		}
		err = c.reachClusterDirectly()
		if got := os.Getenv("NO_PROXY"); got != want || err != nil {
			t.Errorf("with %v: %q, %v; want %q", env, got, err, want)
		}
		env["HTTPS_PROXY"] = "http://proxy.example.com:3128"
	}
}
