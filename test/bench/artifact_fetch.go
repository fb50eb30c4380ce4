package bench

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// The ways to get an artifact that [Measure] knows.
const (
	fetchPull   = "fetch-pull"
	fetchCopy   = "fetch-copy"
	fetchUnpack = "fetch-unpack"
)

const (
	warmFetches = 5
	fetchLimit  = time.Minute
)

func fetchWays() []string { return []string{fetchPull, fetchCopy, fetchUnpack} }

// fetchJob tells a fresh process what to get.
type fetchJob struct {
	Reference string `json:"reference"`
	Key       []byte `json:"key"`
	// Contents are the addresses of everything that a pull downloads, Archive says which one is the archive.
	Contents []string `json:"contents"`
	Archive  int      `json:"archive"`
	// Dir is for what is got.
	Dir string `json:"dir"`
}

// Fetch is what a fresh process measures of one way to get an artifact.
type Fetch struct {
	// Cold is how long the first time took, Warm the median of the further ones, in milliseconds.
	Cold float64 `json:"cold"`
	Warm float64 `json:"warm"`
	// Peak is how much the most resident memory grew by during the first time, in MiB.
	Peak float64 `json:"peak"`
	// Allocated is what one further time allocated, in MiB.
	Allocated float64 `json:"allocated"`
}

// measureFetch gets an artifact in this process.
func measureFetch(way string, input io.Reader) (Fetch, error) {
	var job fetchJob
	if err := json.NewDecoder(input).Decode(&job); err != nil {
		return Fetch{}, fmt.Errorf("reading what to get: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchLimit)
	defer cancel()
	work := func() error {
		dir, err := os.MkdirTemp(job.Dir, way+"-")
		if err != nil {
			return err
		}
		switch way {
		case fetchPull:
			return job.pull(ctx, dir)
		case fetchCopy:
			return job.copy(ctx, dir)
		default:
			return job.unpack(ctx, dir)
		}
	}
	started, err := memoryOf("self")
	if err != nil {
		return Fetch{}, err
	}
	cold, err := measureCalls(work, 1)
	if err != nil {
		return Fetch{}, err
	}
	ended, err := memoryOf("self")
	if err != nil {
		return Fetch{}, err
	}
	warm, err := measureCalls(work, warmFetches)
	return Fetch{
		Cold: cold.took.median(), Warm: warm.took.median(), Peak: inMiB(ended["VmHWM"] - started["VmRSS"]), Allocated: warm.mebibytes,
	}, err
}

// pull does what the operator does when the tag points at something new.
func (j *fetchJob) pull(ctx context.Context, dir string) error {
	ref, err := artifact.ParseReference(j.Reference)
	if err != nil {
		return err
	}
	verifier, err := artifact.NewVerifier(artifact.VerifyOptions{Keys: map[string][]byte{"cosign.pub": j.Key}})
	if err != nil {
		return err
	}
	store, err := artifact.NewStore(dir, artifact.DefaultLimits())
	if err != nil {
		return err
	}
	source, err := artifact.NewSource(ref, artifact.Access{PlainHTTP: true})
	if err != nil {
		return err
	}
	digest, err := source.Resolve(ctx)
	if err != nil {
		return err
	}
	catalog, err := store.Open(ctx, source, digest, verifier)
	if err != nil {
		return err
	}
	return catalog.Close()
}

// copy gets the contents one after the other into files.
func (j *fetchJob) copy(ctx context.Context, dir string) error {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i, address := range j.Contents {
		if err := download(ctx, client, address, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			return err
		}
	}
	return nil
}

func download(ctx context.Context, client *http.Client, address, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("getting %q: %s", address, response.Status)
	}
	return save(path, response.Body)
}

// unpack does the same, and writes the files of the archive.
func (j *fetchJob) unpack(ctx context.Context, dir string) error {
	if err := j.copy(ctx, dir); err != nil {
		return err
	}
	packed, err := os.Open(filepath.Join(dir, fmt.Sprint(j.Archive)))
	if err != nil {
		return err
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	files := tar.NewReader(plain)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, "files", filepath.FromSlash(header.Name))
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			err = save(path, files)
		}
		if err != nil {
			return err
		}
	}
}

func save(path string, content io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// fetchRuns are the runs of each way.
type fetchRuns map[string][]Fetch

// fetchInTurn gets the artifact in all ways.
func (b *bench) fetchInTurn(ctx context.Context, p *published) (fetchRuns, error) {
	dir, err := os.MkdirTemp(b.dir, "fetch-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for artifacts: %w", err)
	}
	job := fetchJob{Reference: p.reference(), Key: p.key.Public, Dir: dir}
	if err := job.findContents(ctx, p); err != nil {
		return nil, err
	}
	runs := fetchRuns{}
	for range fetches {
		for _, way := range fetchWays() {
			var run Fetch
			if err := b.measureApart(ctx, way, job, &run); err != nil {
				return nil, err
			}
			runs[way] = append(runs[way], run)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("removing what was fetched: %w", err)
	}
	return runs, nil
}

// findContents pulls once and looks at what was downloaded. The archive is by far the largest of it.
func (j *fetchJob) findContents(ctx context.Context, p *published) error {
	first := filepath.Join(j.Dir, "first")
	before := p.hub.Requests()
	if err := errors.Join(j.pull(ctx, filepath.Join(first, "pulled")), os.Mkdir(filepath.Join(first, "copied"), 0o700)); err != nil {
		return err
	}
	for request, times := range p.hub.Requests() {
		// What refers to the artifact is a list, made for each request.
		if request.Method == http.MethodGet && times > before[request] && !strings.Contains(request.Path, "/referrers/") {
			j.Contents = append(j.Contents, "http://"+p.hub.Addr+request.Path)
		}
	}
	slices.Sort(j.Contents)
	if err := j.copy(ctx, filepath.Join(first, "copied")); err != nil {
		return err
	}
	var largest int64
	for i := range j.Contents {
		info, err := os.Stat(filepath.Join(first, "copied", fmt.Sprint(i)))
		if err != nil {
			return err
		}
		if info.Size() > largest {
			j.Archive, largest = i, info.Size()
		}
	}
	return nil
}

func (r fetchRuns) values(way string, of func(Fetch) float64) sample {
	values := make(sample, 0, len(r[way]))
	for _, run := range r[way] {
		values = append(values, of(run))
	}
	return values
}

// The values of a run.
func coldFetch(f Fetch) float64      { return f.Cold }
func warmFetch(f Fetch) float64      { return f.Warm }
func fetchPeak(f Fetch) float64      { return f.Peak }
func fetchAllocated(f Fetch) float64 { return f.Allocated }

// figures are those of the real distribution.
func (r fetchRuns) figures(p *published) []Figure {
	return []Figure{
		r.against("pull, verify and unpack, cold, against bare GETs", fetchCopy, coldFetch).because(r.whySlower()),
		r.against("pull, verify and unpack, warm, against bare GETs", fetchCopy, warmFetch).because(r.whySlower()),
		r.against("pull, verify and unpack, cold, against bare GETs and a bare unpacking", fetchUnpack, coldFetch),
		r.against("pull, verify and unpack, warm, against bare GETs and a bare unpacking", fetchUnpack, warmFetch),
		measured("pull, verify and unpack, cold", tenths, r.values(fetchPull, coldFetch)),
		measured("pull, verify and unpack, warm", tenths, r.values(fetchPull, warmFetch)),
		measured("bare GETs, cold", tenths, r.values(fetchCopy, coldFetch)),
		measured("bare GETs, warm", tenths, r.values(fetchCopy, warmFetch)),
		measured("bare GETs and a bare unpacking, cold", tenths, r.values(fetchUnpack, coldFetch)),
		measured("bare GETs and a bare unpacking, warm", tenths, r.values(fetchUnpack, warmFetch)),
		measured("pull, verify and unpack, warm, allocated", mebibytes, r.values(fetchPull, fetchAllocated)),
		atMost("pull, verify and unpack, growth of peak memory against the largest file", ratio, r.growth(fetchPull, p), 2).because(r.whyGrows(p)),
		measured("pull, verify and unpack, growth of peak memory", mebibytes, r.values(fetchPull, fetchPeak)),
		measured("bare GETs, growth of peak memory", mebibytes, r.values(fetchCopy, fetchPeak)),
	}
}

// largeFigures are those of the artifact with large files.
func (r fetchRuns) largeFigures(p *published) []Figure {
	return []Figure{
		atMost("large artifact, growth of peak memory against the largest file", ratio, r.growth(fetchPull, p), 2),
		measured("large artifact, growth of peak memory", mebibytes, r.values(fetchPull, fetchPeak)),
		r.against("large artifact, warm, against bare GETs", fetchCopy, warmFetch).because(r.whySlower()),
		r.against("large artifact, warm, against bare GETs and a bare unpacking", fetchUnpack, warmFetch),
	}
}

// against compares a pull with another way.
func (r fetchRuns) against(name, way string, of func(Fetch) float64) Figure {
	return atMost(name, ratio, r.values(fetchPull, of).over(r.values(way, of)), 2)
}

// growth is that of peak memory, against the size of the largest file.
func (r fetchRuns) growth(way string, p *published) sample {
	return r.values(way, fetchPeak).dividedBy(inMiB(p.largest))
}

func (r fetchRuns) whySlower() string {
	return fmt.Sprintf("Bare GETs leave the archive packed: with an unpacking that checks nothing they take %.1f times as long.",
		r.values(fetchUnpack, warmFetch).over(r.values(fetchCopy, warmFetch)).median())
}

func (r fetchRuns) whyGrows(p *published) string {
	return fmt.Sprintf("The largest file has %.2f MiB. The growth is what a pull allocates, %.1f MiB in all, too little for the runtime to collect garbage, and code that runs for the first time. "+
		"The large artifact shows that memory does not grow with the files.", inMiB(p.largest), r.values(fetchPull, fetchAllocated).median())
}
