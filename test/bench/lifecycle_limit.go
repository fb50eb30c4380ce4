package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// operatorConcurrency is how many requests the operator has in flight with its defaults.
const operatorConcurrency = 10

// write is one request that the operator makes for an object, ready to be sent.
type write struct {
	path string
	body []byte
}

// writes are requests of one kind of patch.
type writes struct {
	patch types.PatchType
	each  []write
}

// half returns the first or the second half.
func (w writes) half(second int) writes {
	middle := len(w.each) / 2
	if second == 0 {
		return writes{w.patch, w.each[:middle]}
	}
	return writes{w.patch, w.each[middle:]}
}

// migrations are the writes that the operator makes to rewrite objects: nothing is said of those whose managed fields are in the new version.
func (c *cluster) migrations(ctx context.Context, p population) (writes, error) {
	w := writes{patch: types.MergePatchType}
	var failures []error
	err := c.each(ctx, p, func(obj *metav1.PartialObjectMetadata) {
		body := map[string]any{}
		for i, entry := range obj.ManagedFields {
			if entry.APIVersion != p.group+"/"+newVersion {
				obj.ManagedFields[i].APIVersion = p.group + "/" + newVersion
				body["metadata"] = map[string]any{"resourceVersion": obj.ResourceVersion, "managedFields": obj.ManagedFields}
			}
		}
		encoded, err := json.Marshal(body)
		failures = append(failures, err)
		w.each = append(w.each, write{p.resource() + "/" + obj.Name, encoded})
	})
	return w, errors.Join(append(failures, err)...)
}

// releases are the writes that the operator makes to take the finalizer off.
func releases(p population) writes {
	w := writes{patch: types.JSONPatchType}
	body := []byte(`[{"op":"test","path":"/metadata/finalizers/0","value":"` + fluxFinalizer + `"},{"op":"remove","path":"/metadata/finalizers/0"}]`)
	for _, name := range p.names {
		w.each = append(w.each, write{p.resource() + "/" + name, body})
	}
	return w
}

// limit sends requests as fast as the API server takes them with as many in flight as the operator has, and returns how long that lasts.
func (c *cluster) limit(ctx context.Context, w writes) (time.Duration, error) {
	config, err := c.restConfig(floorUser, "system:masters")
	if err != nil {
		return 0, err
	}
	f, err := newFloor(config, hasty)
	if err != nil {
		return 0, err
	}
	defer f.close()
	began := time.Now()
	err = sideBySide(operatorConcurrency, len(w.each), func(i int) error {
		return f.rewrite(ctx, f.clients[i%len(f.clients)], w.patch, w.each[i])
	})
	return time.Since(began), err
}

// rewrite sends one write.
func (f *floor) rewrite(ctx context.Context, c *http.Client, patch types.PatchType, one write) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, f.server+one.path+"?fieldManager="+floorUser, bytes.NewReader(one.body))
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", floorUser)
	request.Header.Set("Content-Type", string(patch))
	request.Header.Set("Accept", onlyMetadata)
	response, err := c.Do(request)
	if err != nil {
		return fmt.Errorf("writing an object: %w", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("writing an object: the API server answered %s: %s", response.Status, said)
	}
	return err
}

// sideBySide does something for each index, a few at a time, until one fails.
func sideBySide(workers, indexes int, do func(int) error) error {
	var taken atomic.Int64
	failures := make([]error, workers)
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := int(taken.Add(1)) - 1; i < indexes && failures[worker] == nil; i = int(taken.Add(1)) - 1 {
				failures[worker] = do(i)
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}
