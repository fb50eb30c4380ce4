package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

const (
	// coldRenders are fresh processes for each of the two, warmRenders repetitions inside each.
	coldRenders = 7
	warmRenders = 5
	renderLimit = 30 * time.Second
)

// distribution is an open distribution and the release in it that is measured.
type distribution struct {
	dir     string
	catalog *artifact.Catalog
	release string
}

// openDistribution opens the generated distribution and selects its newest release.
func openDistribution(dir string) (*distribution, error) {
	catalog, err := artifact.Builtin(dir)
	if err != nil {
		return nil, err
	}
	release, err := version.Select("2.x", catalog.Versions)
	if err != nil {
		return nil, fmt.Errorf("selecting the release to measure: %w", err)
	}
	return &distribution{dir: dir, catalog: catalog, release: release}, nil
}

// instance asks for all components and for nothing else, and does not wait.
func instance(release string) *v1.FluxInstance {
	wait := false
	in := &v1.FluxInstance{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.GroupVersion.String(), Kind: v1.FluxInstanceKind},
		ObjectMeta: metav1.ObjectMeta{Name: v1.DefaultInstanceName, Namespace: v1.DefaultNamespace},
	}
	in.Spec.Distribution = v1.Distribution{Version: strings.TrimPrefix(release, "v"), Registry: "ghcr.io/fluxcd"}
	in.Spec.Components = []v1.Component{
		v1.SourceController, v1.KustomizeController, v1.HelmController, v1.NotificationController,
		v1.ImageReflectorController, v1.ImageAutomationController, v1.SourceWatcher,
	}
	in.Spec.Wait = &wait
	return in
}

// Render is what a fresh process measures of one way to render: the first call, and the median of further ones.
type Render struct {
	// Cold and Warm are in milliseconds.
	Cold float64 `json:"cold"`
	Warm float64 `json:"warm"`
	// Peak is how much the most resident memory grew by during the first call, Allocated what it allocated in total, in MiB.
	Peak      float64 `json:"peak"`
	Allocated float64 `json:"allocated"`
	// Allocations counts the objects that the first call allocated.
	Allocations float64 `json:"allocations"`
	// Objects is how many came out.
	Objects float64 `json:"objects"`
}

// Renderers are the ways to render that [MeasureRender] knows.
const (
	RenderOwn       = "render"
	RenderKustomize = "kustomize"
)

// MeasureRender renders in this process, which must be a fresh one, in the way that is named.
func MeasureRender(way, dir string) (Render, error) {
	d, err := openDistribution(dir)
	if err != nil {
		return Render{}, err
	}
	work := d.render
	if way == RenderKustomize {
		work = d.kustomize
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	started, err := memoryOf("self")
	if err != nil {
		return Render{}, err
	}
	cold, objects, err := timed(work)
	if err != nil {
		return Render{}, err
	}
	ended, err := memoryOf("self")
	if err != nil {
		return Render{}, err
	}
	runtime.ReadMemStats(&after)
	var warm sample
	for range warmRenders {
		took, _, err := timed(work)
		if err != nil {
			return Render{}, err
		}
		warm = append(warm, took)
	}
	return Render{
		Cold: cold, Warm: warm.median(), Objects: float64(objects),
		Peak:        inMiB(ended["VmHWM"] - started["VmRSS"]),
		Allocated:   inMiB(int64(after.TotalAlloc - before.TotalAlloc)),
		Allocations: float64(after.Mallocs - before.Mallocs),
	}, nil
}

// timed returns the milliseconds that work takes, and what it returns.
func timed(work func() (int, error)) (float64, int, error) {
	started := time.Now()
	objects, err := work()
	return inMS(time.Since(started)), objects, err
}

func (d *distribution) render() (int, error) {
	set, err := render.Render(d.catalog.FS, d.release, instance(d.release))
	if err != nil {
		return 0, fmt.Errorf("rendering: %w", err)
	}
	return len(set.Objects), nil
}

// kustomize is the smallest run over the same files: it sets the namespace and nothing else.
func (d *distribution) kustomize() (int, error) {
	disk := filesys.MakeFsInMemory()
	wanted := types.Kustomization{Namespace: v1.DefaultNamespace}
	for _, name := range releaseFiles() {
		content, err := fs.ReadFile(d.catalog.FS, path.Join("flux", d.release, name))
		if err != nil {
			return 0, fmt.Errorf("reading the release: %w", err)
		}
		if err := disk.WriteFile(name, content); err != nil {
			return 0, fmt.Errorf("preparing kustomize: %w", err)
		}
		wanted.Resources = append(wanted.Resources, name)
	}
	file, err := json.Marshal(wanted)
	if err != nil {
		return 0, fmt.Errorf("preparing kustomize: %w", err)
	}
	if err := disk.WriteFile("kustomization.yaml", file); err != nil {
		return 0, fmt.Errorf("preparing kustomize: %w", err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, ".")
	if err != nil {
		return 0, fmt.Errorf("running kustomize: %w", err)
	}
	return resources.Size(), nil
}

// releaseFiles are the files that a set of all components is made of.
func releaseFiles() []string {
	files := []string{"rbac.yaml", "policies.yaml"}
	for _, component := range instance("").Spec.Components {
		files = append(files, string(component)+".yaml")
	}
	return files
}

// benchRender measures both ways in turn, each time in a fresh process.
func (b *bench) benchRender(ctx context.Context) (Part, error) {
	runs := map[string][]Render{}
	for range coldRenders {
		for _, way := range []string{RenderOwn, RenderKustomize} {
			run, err := b.renderApart(ctx, way)
			if err != nil {
				return Part{}, err
			}
			runs[way] = append(runs[way], run)
		}
	}
	own, other := runs[RenderOwn], runs[RenderKustomize]
	figure := func(runs []Render, of func(Render) float64) sample {
		values := make(sample, 0, len(runs))
		for _, run := range runs {
			values = append(values, of(run))
		}
		return values
	}
	cold := func(r Render) float64 { return r.Cold }
	warm := func(r Render) float64 { return r.Warm }
	peak := func(r Render) float64 { return r.Peak }
	allocated := func(r Render) float64 { return r.Allocated }
	allocations := func(r Render) float64 { return r.Allocations / 1000 }
	return Part{
		Title: "Render",
		Method: fmt.Sprintf("`render.Render` for all components of Flux %s against the smallest run of kustomize over the same files (resources and a namespace, in memory). "+
			"%d fresh processes each, in turn; the files are in the page cache. Warm is the median of %d further calls in the same process.", b.distribution.release, coldRenders, warmRenders),
		Figures: []Figure{
			atMost("cold", milliseconds, figure(own, cold), 100).besides("254 to 346 ms (size large, multi-tenant)"),
			measured("cold, against kustomize", ratio, figure(own, cold).over(figure(other, cold))),
			measured("cold, kustomize itself", milliseconds, figure(other, cold)),
			measured("cold, growth of peak memory", mebibytes, figure(own, peak)),
			measured("cold, growth of peak memory, kustomize itself", mebibytes, figure(other, peak)),
			measured("cold, allocated in total", mebibytes, figure(own, allocated)).besides("177 MB"),
			measured("cold, allocated in total, kustomize itself", mebibytes, figure(other, allocated)),
			measured("cold, allocations", thousands, figure(own, allocations)).besides("1.4 million"),
			measured("warm", milliseconds, figure(own, warm)),
			measured("warm, against kustomize", ratio, figure(own, warm).over(figure(other, warm))),
		},
	}, nil
}

// renderApart runs this program again to measure one render in a fresh process.
func (b *bench) renderApart(ctx context.Context, way string) (Render, error) {
	ctx, cancel := context.WithTimeout(ctx, renderLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.options.Program, "--measure", way, "--distribution", b.distribution.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Render{}, fmt.Errorf("measuring %s in a fresh process: %w", way, err)
	}
	var run Render
	if err := json.Unmarshal(out, &run); err != nil {
		return Render{}, fmt.Errorf("reading the measurement of %s: %w", way, err)
	}
	return run, nil
}

func inMiB(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
