package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

const (
	// connections is how many objects are applied at the same time, each over a connection of its own.
	connections = 8
	crdKind     = "CustomResourceDefinition"
	crdPath     = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	// onlyMetadata has the API server answer with metadata alone, as the operator does: the floor is to be a hard one.
	onlyMetadata  = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	maxWatchEvent = 4 << 20
)

// floor applies objects with as little around it as possible: discovery, then definitions, then the rest.
type floor struct {
	server  string
	clients []*http.Client
	mapper  apimeta.RESTMapper
	manners manners
}

// manners say what a bare apply waits for.
type manners string

const (
	// patient waits until the definitions are established before it applies the rest, which whoever brings custom resources has to do.
	patient manners = "waiting for definitions"
	// hasty waits for nothing.
	hasty manners = "waiting for nothing"
)

// newFloor opens nothing yet.
func newFloor(config *rest.Config, m manners) (*floor, error) {
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates of %q: %w", floorUser, err)
	}
	f := &floor{server: config.Host, manners: m}
	for range connections {
		f.clients = append(f.clients, &http.Client{Transport: &http.Transport{TLSClientConfig: tls.Clone(), ForceAttemptHTTP2: true}})
	}
	return f, nil
}

// close closes the connections.
func (f *floor) close() {
	for _, c := range f.clients {
		c.CloseIdleConnections()
	}
}

// apply does the whole work from the first request to the last answer.
func (f *floor) apply(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured) error {
	asking, err := discovery.NewDiscoveryClientForConfigAndClient(config, f.clients[0])
	if err != nil {
		return fmt.Errorf("making the discovery client: %w", err)
	}
	groups, err := restmapper.GetAPIGroupResources(asking)
	if err != nil {
		return fmt.Errorf("discovering the API: %w", err)
	}
	f.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	var definitions, rest []*unstructured.Unstructured
	for _, obj := range objects {
		if obj.GetKind() == crdKind || obj.GetKind() == "Namespace" {
			definitions = append(definitions, obj)
			continue
		}
		rest = append(rest, obj)
	}
	if err := f.stage(ctx, definitions); err != nil {
		return err
	}
	if f.manners == patient {
		if err := f.established(ctx, definitions); err != nil {
			return err
		}
	}
	return f.stage(ctx, rest)
}

// stage applies objects side by side.
func (f *floor) stage(ctx context.Context, objects []*unstructured.Unstructured) error {
	queue := make(chan *unstructured.Unstructured, len(objects))
	for _, obj := range objects {
		queue <- obj
	}
	close(queue)
	failures := make([]error, len(f.clients))
	var workers sync.WaitGroup
	for i, c := range f.clients {
		workers.Go(func() {
			for obj := range queue {
				failures[i] = errors.Join(failures[i], f.patch(ctx, c, obj))
			}
		})
	}
	workers.Wait()
	return errors.Join(failures...)
}

// patch makes one apply request.
func (f *floor) patch(ctx context.Context, c *http.Client, obj *unstructured.Unstructured) error {
	mapping, err := f.mapper.RESTMapping(obj.GroupVersionKind().GroupKind(), obj.GroupVersionKind().Version)
	if err != nil {
		return fmt.Errorf("finding the resource of %s: %w", obj.GetKind(), err)
	}
	path := "/apis/" + mapping.Resource.Group + "/" + mapping.Resource.Version
	if mapping.Resource.Group == "" {
		path = "/api/" + mapping.Resource.Version
	}
	if mapping.Scope.Name() == apimeta.RESTScopeNameNamespace {
		path += "/namespaces/" + obj.GetNamespace()
	}
	path += "/" + mapping.Resource.Resource + "/" + obj.GetName() + "?force=true&fieldManager=" + floorUser
	body, err := json.Marshal(obj.Object)
	if err != nil {
		return fmt.Errorf("encoding %s %q: %w", obj.GetKind(), obj.GetName(), err)
	}
	answer, err := f.send(ctx, c, http.MethodPatch, path, body)
	if err != nil {
		return fmt.Errorf("applying %s %q: %w", obj.GetKind(), obj.GetName(), err)
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	return err
}

// established watches the definitions until all of them are served: one request.
func (f *floor) established(ctx context.Context, definitions []*unstructured.Unstructured) error {
	waiting := map[string]bool{}
	for _, obj := range definitions {
		if obj.GetKind() == crdKind {
			waiting[obj.GetName()] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, establishing)
	defer cancel()
	events, err := f.send(ctx, f.clients[0], http.MethodGet, crdPath+"?watch=true", nil)
	if err != nil {
		return fmt.Errorf("watching the definitions: %w", err)
	}
	defer events.Close()
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, maxWatchEvent)
	for len(waiting) > 0 && lines.Scan() {
		if name, served, err := readDefinition(lines.Bytes()); err != nil {
			return err
		} else if served {
			delete(waiting, name)
		}
	}
	if len(waiting) > 0 {
		return fmt.Errorf("watching the definitions, %d not served yet: %w", len(waiting), errors.Join(lines.Err(), ctx.Err()))
	}
	return nil
}

// readDefinition reads of a watch event whose definition it tells of and whether it is established.
func readDefinition(line []byte) (name string, established bool, err error) {
	var event struct {
		Object struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Status struct {
				Conditions []struct {
					Type   string `json:"type"`
					Status string `json:"status"`
				} `json:"conditions"`
			} `json:"status"`
		} `json:"object"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return "", false, fmt.Errorf("reading a watch event: %w", err)
	}
	for _, condition := range event.Object.Status.Conditions {
		established = established || condition.Type == "Established" && condition.Status == "True"
	}
	return event.Object.Metadata.Name, established, nil
}

// send makes one request; the caller closes the body.
func (f *floor) send(ctx context.Context, c *http.Client, method, path string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, f.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", floorUser)
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/apply-patch+yaml")
		request.Header.Set("Accept", onlyMetadata)
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		said, err := io.ReadAll(io.LimitReader(response.Body, 500))
		return nil, errors.Join(fmt.Errorf("the API server answered %s: %s", response.Status, said), err)
	}
	return response.Body, nil
}
