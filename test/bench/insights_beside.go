package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/process"
	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	// stateMetrics is the program that makes metrics of any objects.
	stateMetrics = "kube-state-metrics"
	// stateMetricsLimit is how long it may take to read all objects.
	stateMetricsLimit = 2 * time.Minute
)

// neighbour is a program that does the operator's work as well as it can, a process of this machine.
type neighbour struct {
	group   *process.Group
	pid     int
	address string
}

// startStateMetrics starts kube-state-metrics with a configuration that makes it tell what the operator tells of single objects, and waits until
// it does of all of them.
func (b *bench) startStateMetrics(ctx context.Context, crowds []*crowd, metrics *scraper) (n *neighbour, err error) {
	programs, err := tools.Build(ctx, stateMetrics)
	if err != nil {
		return nil, err
	}
	files, err := b.cluster.writeStateMetrics(crowds)
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	itself, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(listen)
	_, itsPort, _ := net.SplitHostPort(itself)
	n = &neighbour{address: "http://" + listen + "/metrics"}
	if n.group, err = process.NewGroup(filepath.Join(b.cluster.dir, "logs")); err != nil {
		return nil, err
	}
	err = n.group.Start(process.Spec{Name: stateMetrics, Path: programs[stateMetrics], Args: []string{
		"--kubeconfig=" + files.kubeconfig, "--custom-resource-state-only=true", "--custom-resource-state-config-file=" + files.config,
		"--host=" + host, "--port=" + port, "--telemetry-host=" + host, "--telemetry-port=" + itsPort,
	}})
	if err != nil {
		return nil, err
	}
	n.pid = n.group.States()[0].PID
	ctx, cancel := context.WithTimeout(ctx, stateMetricsLimit)
	defer cancel()
	return n, n.group.Await(ctx, "kube-state-metrics to know all objects", func(ctx context.Context) error {
		one, err := metrics.scrape(ctx, n.address)
		if all := total(crowds); err == nil && one.series != all {
			return fmt.Errorf("it tells of %d objects of %d", one.series, all)
		}
		return err
	})
}

// stop ends the program.
func (n *neighbour) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	n.group.Close(ctx)
}

// stateMetricsFiles are what kube-state-metrics reads.
type stateMetricsFiles struct{ kubeconfig, config string }

func (c *cluster) writeStateMetrics(crowds []*crowd) (stateMetricsFiles, error) {
	files := stateMetricsFiles{filepath.Join(c.dir, stateMetrics+".kubeconfig"), filepath.Join(c.dir, stateMetrics+".json")}
	kubeconfig, err := c.plane.User(floorUser, "system:masters")
	if err != nil {
		return files, err
	}
	config, err := json.Marshal(stateMetricsConfig(crowds))
	if err != nil {
		return files, fmt.Errorf("writing the configuration of %s: %w", stateMetrics, err)
	}
	for path, content := range map[string][]byte{files.kubeconfig: kubeconfig, files.config: config} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return files, fmt.Errorf("writing a file for %s: %w", stateMetrics, err)
		}
	}
	return files, nil
}

// stateMetricsConfig makes one series of each object, with the labels that the operator gives it.
func stateMetricsConfig(crowds []*crowd) map[string]any {
	type path = []string
	labels := map[string]path{
		"uid": {"metadata", "uid"}, "name": {"metadata", "name"}, "exported_namespace": {"metadata", "namespace"}, "suspended": {"spec", "suspend"},
		"ready": {"status", "conditions", "[type=Ready]", "status"}, "reason": {"status", "conditions", "[type=Ready]", "reason"},
		"url": {"spec", "url"}, "path": {"spec", "path"}, "ref": {"spec", "ref", "branch"},
		"revision": {"status", "lastAttemptedRevision"}, "artifact_revision": {"status", "artifact", "revision"},
		"source_name": {"spec", "sourceRef", "name"},
	}
	var resources []any
	for _, kind := range crowds {
		gvk := kind.model.GroupVersionKind()
		resources = append(resources, map[string]any{
			"groupVersionKind": map[string]string{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind},
			"metricNamePrefix": "flux",
			"metrics": []any{map[string]any{
				"name": "resource_info", "help": "An object of Flux and its state, with the value 1.",
				"each": map[string]any{"type": "Info", "info": map[string]any{"labelsFromPath": labels}},
			}},
		})
	}
	return map[string]any{"kind": "CustomResourceStateMetrics", "spec": map[string]any{"resources": resources}}
}
