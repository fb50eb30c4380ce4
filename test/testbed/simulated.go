package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
	"github.com/flux-autopilot/flux-operator/test/testbed/plane"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	stagesFile = "stages.yaml"
	// simulatedLimit bounds the start of kwok.
	simulatedLimit = time.Minute
)

// simulatedNode is an object that kwok takes for a node of its own.
const simulatedNode = `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "` + node.Name + `",
  "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
  "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": "` + node.Name + `", "type": "kwok"}},
 "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "pods": "500"}, "capacity": {"cpu": "32", "memory": "256Gi", "pods": "500"}}}`

// writeStages collects kwok's own description of how nodes and pods behave.
func writeStages(ctx context.Context, path string) error {
	module, err := tools.ModuleDir(ctx, "kwok", "sigs.k8s.io/kwok")
	if err != nil {
		return err
	}
	var stages []string
	for _, folder := range []string{"node/fast", "node/heartbeat-with-lease", "pod/fast"} {
		files, err := filepath.Glob(filepath.Join(module, "kustomize", "stage", folder, "*.yaml"))
		if err != nil {
			return fmt.Errorf("listing stages of kwok: %w", err)
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("reading stages of kwok: %w", err)
			}
			stages = append(stages, string(data))
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(stages, "\n---\n")), 0o644); err != nil {
		return fmt.Errorf("writing stages of kwok: %w", err)
	}
	return nil
}

// startSimulatedNode creates a node and the program that pretends to be its kubelet.
func startSimulatedNode(ctx context.Context, c config, group *process.Group, cluster *plane.Plane) error {
	ctx, cancel := context.WithTimeout(ctx, simulatedLimit)
	defer cancel()
	if _, err := kubectl(ctx, c, simulatedNode, "apply", "-f", "-"); err != nil {
		return err
	}
	err := group.Start(process.Spec{
		Name: "kwok", Path: c.Binaries["kwok"],
		// kwok keeps its settings in the home folder.
		Env: []string{"HOME=" + c.Dir},
		Args: []string{
			"--kubeconfig=" + cluster.Kubeconfig, "--config=" + c.file(stagesFile),
			"--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
			"--cidr=10.0.0.1/24", "--node-ip=10.0.0.1",
			// Without leases of its own kwok's node is soon taken for lost.
			"--node-lease-duration-seconds=40",
		},
	})
	if err != nil {
		return err
	}
	return group.Await(ctx, "the node to be ready", func(ctx context.Context) error { return node.Ready(ctx, cluster.Read) })
}
