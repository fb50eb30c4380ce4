package site

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/gitserver"
)

const (
	// WorkloadNamespace is where the fleet repository deploys to.
	WorkloadNamespace = "production"
	// Workload is the name of the Deployment and of the Service in the fleet repository.
	Workload = "sampleapp"
	// WorkloadConfig is the name of the ConfigMap in the fleet repository; its key "message" holds the message.
	WorkloadConfig = "greeting"

	fleetName = "platform/fleet"
	fleetPath = "clusters/production"
)

//go:embed fleet/*.yaml
var fleetFiles embed.FS

// FleetURL is the address of the fleet repository for the cluster; it asks for [testbed.User] and [testbed.Password].
func (s *Site) FleetURL() string { return s.Cluster.Servers.GitInside + "/" + fleetName + ".git" }

// FleetState is what the fleet repository asks for.
type FleetState struct {
	// Message is what the sample app answers and what the ConfigMap holds; one line.
	Message string
	// Version is that of the sample app's image: 1.0.0 or 2.0.0.
	Version string
}

// FirstState is what the first commit asks for.
func FirstState() FleetState {
	return FleetState{Message: "deployed by Flux", Version: "1.0.0"}
}

// Files returns the repository's files by path.
func (f FleetState) Files() (map[string]string, error) {
	entries, err := fs.ReadDir(fleetFiles, "fleet")
	if err != nil {
		return nil, fmt.Errorf("reading the fleet's files: %w", err)
	}
	fill := strings.NewReplacer("$MESSAGE", f.Message, "$VERSION", f.Version)
	files := map[string]string{}
	for _, entry := range entries {
		data, err := fleetFiles.ReadFile("fleet/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the fleet's files: %w", err)
		}
		files[path.Join(fleetPath, entry.Name())] = fill.Replace(string(data))
	}
	return files, nil
}

// Commit makes the fleet repository ask for another state and returns the commit's SHA.
func (s *Site) Commit(ctx context.Context, message string, state FleetState) (string, error) {
	files, err := state.Files()
	if err != nil {
		return "", err
	}
	return s.Fleet.Commit(ctx, message, files)
}

// openFleet begins the repository anew, also in a cluster that was kept.
func (s *Site) openFleet(ctx context.Context) error {
	root := s.Cluster.Servers.GitRoot
	if err := os.RemoveAll(filepath.Join(root, fleetName+".git")); err != nil {
		return fmt.Errorf("removing an earlier fleet repository: %w", err)
	}
	repo, err := gitserver.Create(ctx, root, fleetName)
	if err != nil {
		return err
	}
	s.Fleet = repo
	_, err = s.Commit(ctx, "Deploy the sample app", FirstState())
	return err
}

// fleetCredentials are the contents of the sync's pull secret.
func fleetCredentials() map[string]string {
	return map[string]string{"username": testbed.User, "password": testbed.Password}
}
