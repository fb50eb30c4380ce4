package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// goPoll is the loop that lists everything.
	goPoll = "poll"
	// polls is how often it does; the first time is left out, for a process has more to do then.
	polls = 4
	// pollPause is shorter than the interval that the loop stands for: it does nothing meanwhile.
	pollPause = 2 * time.Second
)

// pollJob tells a fresh process what to list.
type pollJob struct {
	Kubeconfig string                    `json:"kubeconfig"`
	Kinds      []schema.GroupVersionKind `json:"kinds"`
}

// Polling is what listing everything again and again took.
type Polling struct {
	// Objects there were the last time, and those of them that were not ready.
	Objects, Failing int
	// CPU is the processor time of each listing but the first, in seconds.
	CPU []float64
	// Anon and RSS are the most memory of the process, in bytes.
	Anon, RSS int64
}

// poll measures the loop in a fresh process.
func (b *bench) poll(ctx context.Context, crowds []*crowd) (Polling, error) {
	kubeconfig, err := b.cluster.plane.User(floorUser, "system:masters")
	if err != nil {
		return Polling{}, err
	}
	job := pollJob{Kubeconfig: filepath.Join(b.cluster.dir, "poll.kubeconfig")}
	if err := os.WriteFile(job.Kubeconfig, kubeconfig, 0o600); err != nil {
		return Polling{}, fmt.Errorf("writing a kubeconfig: %w", err)
	}
	for _, kind := range crowds {
		job.Kinds = append(job.Kinds, kind.model.GroupVersionKind())
	}
	var found Polling
	err = b.measureApart(ctx, goPoll, job, &found)
	return found, err
}

// measurePolling is the loop, in this process.
func measurePolling(input io.Reader) (Polling, error) {
	var job pollJob
	if err := json.NewDecoder(input).Decode(&job); err != nil {
		return Polling{}, fmt.Errorf("reading what to list: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), apartLimit)
	defer cancel()
	c, err := unlimitedClient(job.Kubeconfig)
	if err != nil {
		return Polling{}, err
	}
	var found Polling
	peak := watchMemory(func() (usage, error) { return usageOf(os.Getpid()) })
	for range polls {
		before, err := usageOf(os.Getpid())
		if err != nil {
			return found, err
		}
		if err := found.list(ctx, c, job.Kinds); err != nil {
			return found, err
		}
		if err := pause(ctx, pollPause); err != nil { // with it, for garbage is collected in it
			return found, err
		}
		after, err := usageOf(os.Getpid())
		if err != nil {
			return found, err
		}
		found.CPU = append(found.CPU, (after.cpu - before.cpu).Seconds())
	}
	most := peak()
	found.CPU, found.Anon, found.RSS = found.CPU[1:], most.anon, most.peak
	return found, nil
}

// list lists all objects of all kinds, whole, and counts them.
func (p *Polling) list(ctx context.Context, c client.Client, kinds []schema.GroupVersionKind) error {
	p.Objects, p.Failing = 0, 0
	for _, kind := range kinds {
		all := &unstructured.UnstructuredList{}
		all.SetGroupVersionKind(kind)
		if err := c.List(ctx, all); err != nil {
			return fmt.Errorf("listing every %s: %w", kind.Kind, err)
		}
		p.Objects += len(all.Items)
		for i := range all.Items {
			if !isReadyObject(&all.Items[i]) {
				p.Failing++
			}
		}
	}
	return nil
}

// isReadyObject reads the Ready condition.
func isReadyObject(obj *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, condition := range conditions {
		if fields, ok := condition.(map[string]any); ok && fields["type"] == "Ready" {
			return fields["status"] == "True"
		}
	}
	return false
}
