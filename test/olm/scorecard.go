package olm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"

	"github.com/flux-autopilot/flux-operator/test/bundle"
	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/tools"
)

// scorecardNamespace is where the tests of the scorecard run as pods.
const scorecardNamespace = "default"

// Scorecard runs operator-sdk scorecard itself on the bundle of a version: its tests run as pods of the cluster.
func (m *Manager) Scorecard(ctx context.Context, v Version) ([]bundle.Score, error) {
	version, err := tools.Version("scorecard-test")
	if err != nil {
		return nil, err
	}
	if _, err := m.push(ctx, testbed.Image{Repository: "operator-framework/scorecard-test", Tag: version, Tool: "scorecard-test"}); err != nil {
		return nil, err
	}
	untar, err := m.push(ctx, testbed.Image{Repository: "operator-framework/scorecard-untar", Tag: version, Package: "./test/testbed/cmd/untar"})
	if err != nil {
		return nil, err
	}
	built, err := tools.Build(ctx, "operator-sdk")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, built["operator-sdk"], "scorecard", m.bundle(v), "--kubeconfig", m.site.Cluster.Kubeconfig,
		"--namespace", scorecardNamespace, "--untar-image", untar, "--pod-security", "restricted", "--wait-time", "3m", "--output", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output() // its code says whether all tests passed, which the scores say better
	scores, unread := readScores(stdout)
	if unread != nil {
		return nil, fmt.Errorf("running operator-sdk scorecard: %w: %w: %s", unread, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return scores, nil
}

func readScores(content []byte) ([]bundle.Score, error) {
	var list struct {
		Items []struct {
			Status struct {
				Results []bundle.Score `json:"results"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("reading its scores: %w", err)
	}
	var scores []bundle.Score
	for _, item := range list.Items {
		scores = append(scores, item.Status.Results...)
	}
	return scores, nil
}
