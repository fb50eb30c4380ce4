package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	packageName  = "flux-operator"
	channel      = "stable"
	projectFile  = "PROJECT"
	bundleFolder = "bundle"
	dockerfile   = "bundle.Dockerfile"
)

// make lets operator-sdk bring the base up to date and write a bundle of it into the folder work.
func (o options) make(ctx context.Context, root, work string) error {
	if err := o.runSDK(ctx, root, nil, "generate", "kustomize", "manifests", "--quiet", "--interactive=false", "--apis-dir", "apis"); err != nil {
		return err
	}
	manifests, err := build(filepath.Join(root, "config", "manifests"))
	if err != nil {
		return err
	}
	project, err := os.ReadFile(filepath.Join(root, projectFile))
	if err != nil {
		return fmt.Errorf("reading what operator-sdk knows of the project: %w", err)
	}
	if err := os.WriteFile(filepath.Join(work, projectFile), project, 0o644); err != nil {
		return fmt.Errorf("telling operator-sdk of the project: %w", err)
	}
	return o.runSDK(ctx, work, manifests, "generate", "bundle", "--quiet", "--overwrite", "--version", o.version,
		"--package", packageName, "--channels", channel, "--default-channel", channel, "--output-dir", bundleFolder)
}

// build returns what a kustomization describes, as a stream of YAML documents.
func build(kustomization string) ([]byte, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), kustomization)
	if err != nil {
		return nil, fmt.Errorf("building %q: %w", kustomization, err)
	}
	manifests, err := resources.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("writing what %q describes: %w", kustomization, err)
	}
	return manifests, nil
}

// runSDK runs operator-sdk in a folder. Manifests go through a pipe: it reads standard input only when that is one.
func (o options) runSDK(ctx context.Context, dir string, stdin []byte, args ...string) error {
	sdk, err := exec.LookPath(o.sdk)
	if err != nil {
		return fmt.Errorf("finding operator-sdk: %w", err)
	}
	cmd := exec.CommandContext(ctx, sdk, args...)
	cmd.Dir = dir
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running operator-sdk %s %s: %w: %s", args[0], args[1], err, bytes.TrimSpace(output))
	}
	return nil
}
