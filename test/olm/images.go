package olm

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	// imagesHost is where the project publishes; in the testbed its registry answers for it.
	imagesHost = "quay.io"
	// workloadUser is the user that it runs bundles and catalogs as.
	workloadUser = "1001:1001"
	// programs is where its own images have what they run.
	programs = "/bin"
)

// pushImages puts the lifecycle manager's image and that of opm into the registry, under the names that its manifests ask for, and returns
// their references. Both are made of the projects' own programs, but for cp.
func (m *Manager) pushImages(ctx context.Context) (manager, opm string, err error) {
	built, err := tools.Build(ctx, "catalog", "copy-content", "cpb", "opm", "grpc_health_probe")
	if err != nil {
		return "", "", err
	}
	m.opm = built["opm"]
	built["cp"], err = m.site.Cluster.Program(ctx, testbed.Image{Repository: "testbed/cp", Tag: "1", Package: "./test/testbed/cmd/cp"})
	if err != nil {
		return "", "", err
	}
	beside, err := m.stage("olm", built["catalog"], built["copy-content"], built["cpb"], built["cp"])
	if err != nil {
		return "", "", err
	}
	manager, err = m.push(ctx, testbed.Image{
		Repository: "operator-framework/olm", Tag: "v0.42.0", Tool: "olm", Entrypoint: programs + "/olm", Options: options(programs, beside),
	})
	if err != nil {
		return "", "", err
	}
	if m.probe, err = m.stage("opm", built["grpc_health_probe"]); err != nil {
		return "", "", err
	}
	opm, err = m.push(ctx, testbed.Image{
		Repository: "operator-framework/opm", Tag: "latest", Tool: "opm", Entrypoint: programs + "/opm", Options: options(programs, m.probe),
	})
	return manager, opm, err
}

func options(at string, files fs.FS) image.Options {
	return image.Options{User: workloadUser, Files: map[string]fs.FS{at: files}}
}

// push pushes an image and returns its reference by digest.
func (m *Manager) push(ctx context.Context, img testbed.Image) (string, error) {
	m.sayf("image %s:%s", img.Repository, img.Tag)
	digest, err := m.site.Cluster.PushImage(ctx, img)
	return imagesHost + "/" + img.Repository + "@" + digest, err
}

// stage gathers programs in a folder, as they lie beside each other in an image.
func (m *Manager) stage(name string, paths ...string) (fs.FS, error) {
	dir, err := m.folder("images", name)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := copyProgram(path, filepath.Join(dir, filepath.Base(path))); err != nil {
			return nil, fmt.Errorf("gathering the programs of image %q: %w", name, err)
		}
	}
	return os.DirFS(dir), nil
}

// folder makes an empty folder below that of the cluster.
func (m *Manager) folder(parts ...string) (string, error) {
	dir := filepath.Join(append([]string{m.site.Cluster.Dir, "olm"}, parts...)...)
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("emptying a folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
	}
	return dir, nil
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer target.Close()
	_, err = io.Copy(target, source)
	return err
}
