package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// Finding is what a validator of operator-sdk says.
type Finding struct {
	// Type is error or warning.
	Type string `json:"type"`
	// Message is the sentence.
	Message string `json:"message"`
}

// Explained tells whether a finding is known and meant, and why; docs/capabilities.md says it to users.
func (f Finding) Explained() (string, bool) {
	for part, why := range map[string]string{
		"CSV contains permissions to create CRD":    "an installer of Flux creates the definitions of Flux, and RBAC cannot limit create by name",
		`The "operatorhub" validator is deprecated`: "the pipeline of the community catalogs still runs it; its successors run too",
	} {
		if f.Type == "warning" && strings.Contains(f.Message, part) {
			return why, true
		}
	}
	return "", false
}

// suites are what the pipelines of the catalogs run.
func suites(kubernetes string) [][]string {
	return [][]string{
		{"--select-optional", "suite=operatorframework", "--optional-values=k8s-version=" + kubernetes},
		{"--select-optional", "name=operatorhub", "--optional-values=k8s-version=" + kubernetes},
	}
}

// Validate runs the validators of operator-sdk, given its path, on the bundle in a folder, for a minor version of Kubernetes.
func Validate(ctx context.Context, sdk, dir, kubernetes string) ([]Finding, error) {
	var found []Finding
	for _, suite := range suites(kubernetes) {
		args := append([]string{"bundle", "validate", dir, "--output", "json-alpha1"}, suite...)
		cmd := exec.CommandContext(ctx, sdk, args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		failed := cmd.Run() // it fails when a validator finds an error, which the output tells
		var result struct {
			Passed  bool      `json:"passed"`
			Outputs []Finding `json:"outputs"`
		}
		if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
			return nil, fmt.Errorf("validating %q: %w: %w: %s", dir, failed, err, bytes.TrimSpace(stderr.Bytes()))
		}
		found = append(found, result.Outputs...)
		if !result.Passed && len(result.Outputs) == 0 {
			found = append(found, Finding{"error", "the validators failed without a word: " + stderr.String()})
		}
	}
	return found, nil
}
