package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

const (
	goMigrate = "migrate"
	goRelease = "release"
)

// goingWays are the ways through all objects that are measured in fresh processes.
func goingWays() []string { return []string{goMigrate, goRelease} }

// goingJob tells a fresh process which cluster to work in.
type goingJob struct {
	Kubeconfig string `json:"kubeconfig"`
}

// Going is what a way through all objects took.
type Going struct {
	// Seconds it lasted.
	Seconds float64
	// Peak is the most anonymous memory of the process, in bytes.
	Peak int64
}

// alone is a cluster through whose objects nothing goes but the code that does it, each time in a fresh process: what the operator keeps of objects
// for other purposes is left out.
type alone struct {
	objects            int
	migration, release Going
}

// goAlone measures one cluster.
func (b *bench) goAlone(ctx context.Context, a *alone) error {
	ctx, cancel := context.WithTimeout(ctx, lifecycleLimit)
	defer cancel()
	return b.onCluster(ctx, func(ctx context.Context) error {
		ours, err := b.populate(ctx, storedGroup, a.objects, a.objects)
		if err != nil {
			return err
		}
		kubeconfig, err := b.cluster.plane.User(operatorUser, "system:serviceaccounts", "system:authenticated")
		if err != nil {
			return err
		}
		job := goingJob{Kubeconfig: filepath.Join(b.cluster.dir, "apart.kubeconfig")}
		if err := os.WriteFile(job.Kubeconfig, kubeconfig, 0o600); err != nil {
			return fmt.Errorf("writing a kubeconfig: %w", err)
		}
		before, err := b.cluster.revisions(ctx, ours)
		if err != nil {
			return err
		}
		if err := b.measureApart(ctx, goMigrate, job, &a.migration); err != nil {
			return err
		}
		after, err := b.cluster.revisions(ctx, ours)
		if err != nil {
			return err
		}
		if written := changed(before, after); written != a.objects {
			return fmt.Errorf("%d of %d objects were rewritten", written, a.objects)
		}
		if err := b.measureApart(ctx, goRelease, job, &a.release); err != nil {
			return err
		}
		b.sayf("%d objects, in fresh processes: migrated in %.0f s with at most %.1f MiB, released in %.0f s with at most %.1f MiB",
			a.objects, a.migration.Seconds, inMiB(a.migration.Peak), a.release.Seconds, inMiB(a.release.Peak))
		return nil
	})
}

// unlimitedClient reaches the cluster of a kubeconfig as fast as that answers.
func unlimitedClient(kubeconfig string) (client.WithWatch, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", kubeconfig, err)
	}
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// measureGoing goes through all objects in this process.
func measureGoing(way, dir string, input io.Reader) (Going, error) {
	var job goingJob
	if err := json.NewDecoder(input).Decode(&job); err != nil {
		return Going{}, fmt.Errorf("reading what to go through: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), apartLimit)
	defer cancel()
	c, err := unlimitedClient(job.Kubeconfig)
	if err != nil {
		return Going{}, err
	}
	work := release
	if way == goMigrate {
		wanted, err := wantedDefinition(dir)
		if err != nil {
			return Going{}, err
		}
		work = func(ctx context.Context, c client.WithWatch) error { return rewrite(ctx, c, wanted) }
	}
	began, peak := time.Now(), watchMemory(func() (usage, error) { return usageOf(os.Getpid()) })
	err = work(ctx, c)
	return Going{Seconds: time.Since(began).Seconds(), Peak: peak().anon}, err
}

// wantedDefinition is what the newest release says of the kind.
func wantedDefinition(dir string) ([]migrate.Definition, error) {
	d, err := openDistribution(dir)
	if err != nil {
		return nil, err
	}
	crd, err := d.definition(d.release)
	if err != nil {
		return nil, err
	}
	return migrate.Definitions([]*unstructured.Unstructured{crd})
}

// rewrite moves what is stored to the version of the wanted definition.
func rewrite(ctx context.Context, c client.Client, wanted []migrate.Definition) error {
	migrator := migrate.New(c, migrate.Options{Concurrency: operatorConcurrency})
	live, err := migrator.Live(ctx, wanted)
	if err != nil {
		return err
	}
	steps, err := migrate.Plan(live, wanted)
	if err != nil {
		return err
	}
	return migrator.Run(ctx, steps, nil)
}

// release takes the finalizer off all objects.
func release(ctx context.Context, c client.WithWatch) error {
	_, err := apply.New(c, apply.Options{Concurrency: operatorConcurrency}).ReleaseFinalizers(ctx, []string{storedPlural + "." + storedGroup}, nil)
	return err
}

// isGoing tells whether something is a way through all objects.
func isGoing(way string) bool { return slices.Contains(goingWays(), way) }
