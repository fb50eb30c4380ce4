package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
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
	// coldLimit is aimed at without shards, in milliseconds.
	coldLimit = 100
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

// sharded asks for all components of a large cluster that tenants share, and so many shards.
func sharded(release string, shards int) *v1.FluxInstance {
	in := instance(release)
	in.Spec.Cluster = &v1.Cluster{Size: "large", Multitenant: true, NetworkPolicy: true}
	for i := range shards {
		if in.Spec.Sharding == nil {
			in.Spec.Sharding = &v1.Sharding{}
		}
		in.Spec.Sharding.Shards = append(in.Spec.Sharding.Shards, fmt.Sprintf("shard%d", i+1))
	}
	return in
}

// Render is what a fresh process measures of one way to render: the first call, and further ones.
type Render struct {
	// Cold is how long the first call took, Warm the median of the further ones, in milliseconds.
	Cold float64 `json:"cold"`
	Warm float64 `json:"warm"`
	// Peak is how much the most resident memory grew by during the first call, in MiB.
	Peak float64 `json:"peak"`
	// ColdBytes and WarmBytes are what the first and one further call allocated in total, in MiB.
	ColdBytes float64 `json:"coldBytes"`
	WarmBytes float64 `json:"warmBytes"`
	// ColdAllocations and WarmAllocations count the allocations, in thousands.
	ColdAllocations float64 `json:"coldAllocations"`
	WarmAllocations float64 `json:"warmAllocations"`
}

// The ways to render that [Measure] knows: the smallest run of kustomize, and [renderOwn] with a number of shards.
const (
	renderKustomize = "kustomize"
	renderOwn       = "render-%d"
)

// shardCounts are the numbers of shards that are measured.
func shardCounts() []int { return []int{0, 5, 50} }

func ownWay(shards int) string { return fmt.Sprintf(renderOwn, shards) }

// measureRender renders in this process.
func measureRender(way, dir string) (Render, error) {
	d, err := openDistribution(dir)
	if err != nil {
		return Render{}, err
	}
	work := d.kustomize
	if way != renderKustomize {
		var shards int
		if _, err := fmt.Sscanf(way, renderOwn, &shards); err != nil {
			return Render{}, fmt.Errorf("reading what to measure, %q: %w", way, err)
		}
		work = func() error { return d.render(shards) }
	}
	started, err := memoryOf("self")
	if err != nil {
		return Render{}, err
	}
	cold, err := measureCalls(work, 1)
	if err != nil {
		return Render{}, err
	}
	ended, err := memoryOf("self")
	if err != nil {
		return Render{}, err
	}
	warm, err := measureCalls(work, warmRenders)
	if err != nil {
		return Render{}, err
	}
	return Render{
		Cold: cold.took.median(), Warm: warm.took.median(),
		Peak:      inMiB(ended["VmHWM"] - started["VmRSS"]),
		ColdBytes: cold.mebibytes, WarmBytes: warm.mebibytes,
		ColdAllocations: cold.thousands, WarmAllocations: warm.thousands,
	}, nil
}

// calls is what several calls took, each, and what one of them allocated on average.
type calls struct {
	took                 sample
	mebibytes, thousands float64
}

func measureCalls(work func() error, times int) (calls, error) {
	var c calls
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		started := time.Now()
		if err := work(); err != nil {
			return c, err
		}
		c.took = append(c.took, inMS(time.Since(started)))
	}
	runtime.ReadMemStats(&after)
	c.mebibytes = inMiB(int64(after.TotalAlloc-before.TotalAlloc)) / float64(times)
	c.thousands = float64(after.Mallocs-before.Mallocs) / 1000 / float64(times)
	return c, nil
}

func (d *distribution) render(shards int) error {
	if _, err := render.Render(d.catalog.FS, d.release, sharded(d.release, shards)); err != nil {
		return fmt.Errorf("rendering: %w", err)
	}
	return nil
}

// kustomize is the smallest run over the same files: it sets the namespace and nothing else.
func (d *distribution) kustomize() error {
	disk := filesys.MakeFsInMemory()
	wanted := types.Kustomization{Namespace: v1.DefaultNamespace}
	for _, name := range releaseFiles() {
		content, err := fs.ReadFile(d.catalog.FS, path.Join("flux", d.release, name))
		if err != nil {
			return fmt.Errorf("reading the release: %w", err)
		}
		if err := disk.WriteFile(name, content); err != nil {
			return fmt.Errorf("preparing kustomize: %w", err)
		}
		wanted.Resources = append(wanted.Resources, name)
	}
	file, err := json.Marshal(wanted)
	if err != nil {
		return fmt.Errorf("preparing kustomize: %w", err)
	}
	if err := disk.WriteFile("kustomization.yaml", file); err != nil {
		return fmt.Errorf("preparing kustomize: %w", err)
	}
	if _, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "."); err != nil {
		return fmt.Errorf("running kustomize: %w", err)
	}
	return nil
}

// releaseFiles are the files that a set of all components is made of.
func releaseFiles() []string {
	files := []string{"rbac.yaml", "policies.yaml"}
	for _, component := range instance("").Spec.Components {
		files = append(files, string(component)+".yaml")
	}
	return files
}

// benchRender measures all ways in turn, each time in a fresh process.
func (b *bench) benchRender(ctx context.Context) (Part, error) {
	ways := []string{renderKustomize}
	for _, shards := range shardCounts() {
		ways = append(ways, ownWay(shards))
	}
	runs := renders{}
	for range coldRenders {
		for _, way := range ways {
			var run Render
			if err := b.measureApart(ctx, way, nil, &run); err != nil {
				return Part{}, err
			}
			runs[way] = append(runs[way], run)
		}
	}
	part := Part{
		Title: "Render",
		Method: fmt.Sprintf("`render.Render` for all components of Flux %s, size large, multi-tenant, against the smallest run of kustomize over the same files (resources and a namespace, in memory). "+
			"%d fresh processes each, in turn; the files are in the page cache. Cold is the first call in a process, with opened files and nothing parsed; warm is the median of %d further ones, "+
			"and what one of these allocates on average.", b.distribution.release, coldRenders, warmRenders),
		Notes: []string{"Nothing is kept between two calls: a warm one reads and parses the release again."},
	}
	for _, shards := range shardCounts() {
		part.Figures = append(part.Figures, runs.ofShards(shards)...)
	}
	part.Figures = append(part.Figures, runs.growth()...)
	part.Figures = append(part.Figures, runs.ofKustomize()...)
	return part, nil
}

// renders are the runs of each way.
type renders map[string][]Render

func (r renders) values(way string, of func(Render) float64) sample {
	values := make(sample, 0, len(r[way]))
	for _, run := range r[way] {
		values = append(values, of(run))
	}
	return values
}

// The values of a run.
func coldTime(r Render) float64        { return r.Cold }
func warmTime(r Render) float64        { return r.Warm }
func peak(r Render) float64            { return r.Peak }
func coldBytes(r Render) float64       { return r.ColdBytes }
func warmBytes(r Render) float64       { return r.WarmBytes }
func coldAllocations(r Render) float64 { return r.ColdAllocations }
func warmAllocations(r Render) float64 { return r.WarmAllocations }

// ofShards are the figures for a number of shards.
func (r renders) ofShards(shards int) []Figure {
	limit := map[int]float64{0: 25, 5: 40, 50: 150}[shards]
	time := map[int]string{0: "254 to 346 ms", 5: "782 ms"}[shards]
	bytes := map[int]string{0: "177 MB", 5: "561 MB"}[shards]
	count := map[int]string{0: "1.4 million"}[shards]
	way, name := ownWay(shards), fmt.Sprintf("%d shards, ", shards)
	cold := measured(name+"cold", milliseconds, r.values(way, coldTime))
	if shards == 0 {
		cold = atMost(name+"cold", milliseconds, r.values(way, coldTime), coldLimit)
	}
	return []Figure{
		cold.besides(time),
		measured(name+"cold, against kustomize", ratio, r.values(way, coldTime).over(r.values(renderKustomize, coldTime))),
		measured(name+"cold, growth of peak memory", mebibytes, r.values(way, peak)),
		measured(name+"cold, allocated", mebibytes, r.values(way, coldBytes)).besides(bytes),
		measured(name+"cold, allocations", thousands, r.values(way, coldAllocations)).besides(count),
		atMost(name+"warm", milliseconds, r.values(way, warmTime), limit),
		measured(name+"warm, against kustomize", ratio, r.values(way, warmTime).over(r.values(renderKustomize, warmTime))),
		measured(name+"warm, allocated", mebibytes, r.values(way, warmBytes)),
		measured(name+"warm, allocations", thousands, r.values(way, warmAllocations)),
	}
}

// growth tells what one shard costs, and whether the last of many costs more than the first few.
func (r renders) growth() []Figure {
	counts := shardCounts()
	few, many := counts[1], counts[2]
	perShard := func(shards int, of func(Render) float64) sample {
		return r.values(ownWay(shards), of).minus(r.values(ownWay(0), of)).dividedBy(float64(shards))
	}
	name := func(what string) string {
		return fmt.Sprintf("warm, %s for each shard, of %d against of %d", what, many, few)
	}
	return []Figure{
		measured("warm, for each shard", hundredths, perShard(many, warmTime)),
		measured("warm, allocated for each shard", mebibytes, perShard(many, warmBytes)),
		atMost(name("allocated"), ratio, perShard(many, warmBytes).over(perShard(few, warmBytes)), 1.1),
		atMost(name("allocations"), ratio, perShard(many, warmAllocations).over(perShard(few, warmAllocations)), 1.1),
		measured(name("time"), ratio, sample{perShard(many, warmTime).median()}.over(sample{perShard(few, warmTime).median()})),
	}
}

func (r renders) ofKustomize() []Figure {
	return []Figure{
		measured("kustomize itself, cold", milliseconds, r.values(renderKustomize, coldTime)),
		measured("kustomize itself, cold, growth of peak memory", mebibytes, r.values(renderKustomize, peak)),
		measured("kustomize itself, cold, allocated", mebibytes, r.values(renderKustomize, coldBytes)),
		measured("kustomize itself, cold, allocations", thousands, r.values(renderKustomize, coldAllocations)),
		measured("kustomize itself, warm", milliseconds, r.values(renderKustomize, warmTime)),
		measured("kustomize itself, warm, allocated", mebibytes, r.values(renderKustomize, warmBytes)),
		measured("kustomize itself, warm, allocations", thousands, r.values(renderKustomize, warmAllocations)),
	}
}

// minus subtracts pair by pair, as [sample.over] divides.
func (s sample) minus(other sample) sample {
	differences := make(sample, 0, len(s))
	for i := range s {
		differences = append(differences, s[i]-other[i])
	}
	return differences
}

func (s sample) dividedBy(number float64) sample {
	parts := make(sample, 0, len(s))
	for _, value := range s {
		parts = append(parts, value/number)
	}
	return parts
}

func inMiB(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
