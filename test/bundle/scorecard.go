package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ScorecardTests are the tests of operator-sdk scorecard, all there are.
func ScorecardTests() []string {
	return []string{
		"basic-check-spec", "olm-bundle-validation", "olm-crds-have-validation", "olm-crds-have-resources", "olm-spec-descriptors", "olm-status-descriptors",
	}
}

// Score is the outcome of a test.
type Score struct {
	// Name of the test.
	Name string `json:"name"`
	// State is pass, fail or error.
	State string `json:"state"`
	// Errors say why it failed.
	Errors []string `json:"errors"`
	// Suggestions are what could be better.
	Suggestions []string `json:"suggestions"`
}

// Scorecard runs the tests of operator-sdk scorecard on the bundle in a folder, without a cluster: in a cluster they run as pods in which the bundle
// is at /bundle, so here they run in a folder that is their root. It is given the path of the program that holds the tests.
func Scorecard(ctx context.Context, program, dir string) ([]Score, error) {
	root, err := os.MkdirTemp("", "scorecard-*")
	if err != nil {
		return nil, fmt.Errorf("making a root for the scorecard: %w", err)
	}
	defer os.RemoveAll(root)
	if err := os.CopyFS(filepath.Join(root, "bundle"), os.DirFS(dir)); err != nil {
		return nil, fmt.Errorf("copying the bundle %q: %w", dir, err)
	}
	if err := copyProgram(program, filepath.Join(root, "scorecard-test")); err != nil {
		return nil, err
	}
	var scores []Score
	for _, test := range ScorecardTests() {
		found, err := runScorecard(ctx, root, test)
		if err != nil {
			return nil, fmt.Errorf("running the scorecard test %q: %w", test, err)
		}
		scores = append(scores, found...)
	}
	return scores, nil
}

// runScorecard runs one test. Its exit code says nothing about the outcome.
func runScorecard(ctx context.Context, root, test string) ([]Score, error) {
	cmd, err := confined(ctx, root, "/scorecard-test", test)
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var status struct {
		Results []Score `json:"results"`
	}
	if err := json.Unmarshal(stdout, &status); err != nil {
		return nil, fmt.Errorf("reading its outcome: %w", err)
	}
	if len(status.Results) == 0 {
		return nil, errors.New("reading its outcome: there is none")
	}
	return status.Results, nil
}

func copyProgram(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copying the tests of the scorecard: %w", err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		return fmt.Errorf("copying the tests of the scorecard: %w", err)
	}
	return nil
}
