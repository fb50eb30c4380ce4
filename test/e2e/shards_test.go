package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// mainSet are the controllers that work for no shard.
	mainSet = ""
	// noShard is a shard that nobody works for.
	noShard = "nobody"
)

// shards are those of the instance.
func shards() []string { return []string{"shard1", "shard2"} }

// sharded are the controllers that every shard has.
func sharded() []string {
	return []string{"source-controller", "kustomize-controller", "helm-controller", "source-watcher"}
}

// ofShard is the name that a controller has in a shard.
func ofShard(controller, shard string) string {
	if shard == mainSet {
		return controller
	}
	return controller + "-" + shard
}

// everyController are the Deployments of the sharded instance.
func everyController() []string {
	names := []string{"notification-controller"}
	for _, shard := range append(shards(), mainSet) {
		for _, controller := range sharded() {
			names = append(names, ofShard(controller, shard))
		}
	}
	return names
}

// reconciled are the kinds of an app of the tenant and the controllers that work on them.
func reconciled() map[string]string {
	return map[string]string{
		"GitRepository": "source-controller", "Kustomization": "kustomize-controller", "ArtifactGenerator": "source-watcher",
	}
}

// ofApp are the objects of an app of the tenant that controllers work on, without content.
func ofApp(name string) []*unstructured.Unstructured {
	var objects []*unstructured.Unstructured
	for _, kind := range slices.Sorted(maps.Keys(reconciled())) {
		objects = append(objects, ofTenant(kind, name))
	}
	return objects
}

// keepingShardsApart needs an instance with two shards whose controllers store on volumes.
func keepingShardsApart() {
	It("leaves an object to the shard whose label it has", func(ctx context.Context) {
		letTenantDeploy(ctx)
		apply(ctx, tenantApp("moving", noShard))
		apply(ctx, tenantApp("unlabelled", mainSet))
		apply(ctx, tenantApp("labelled", shards()[0]))
		workOf(ctx, "unlabelled", mainSet)
		workOf(ctx, "labelled", shards()[0])

		By("looking whether anybody works for a shard that does not exist")
		// Whoever had been told of it would have been told before this request.
		for _, name := range []string{"unlabelled", "labelled"} {
			handled(ctx, ofApp(name)...)
		}
		for kind, controller := range reconciled() {
			obj := ofTenant(kind, "moving")
			status, err := statusOf(ctx, obj)
			must(err)
			Expect(status.Conditions).To(BeEmpty(), kind)
			Expect(obj.GetFinalizers()).To(BeEmpty(), kind)
			Expect(seenBy(ctx, controller, "moving")).To(BeEmpty(), kind)
		}

		By("giving it to a shard that exists")
		apply(ctx, tenantApp("moving", shards()[1]))
		workOf(ctx, "moving", shards()[1])
	})
}

// workOf waits until an app of the tenant is deployed and checks that all of it is the work of one set of controllers.
func workOf(ctx context.Context, name, shard string) (source, generated kept) {
	GinkgoHelper()
	for _, obj := range ofApp(name) {
		fluxReady(ctx, obj)
	}
	source = storedBy(ctx, fluxReady(ctx, ofTenant("GitRepository", name)).Artifact, ofShard("source-controller", shard))
	generated = storedBy(ctx, fluxReady(ctx, ofTenant("ExternalArtifact", name)).Artifact, ofShard("source-watcher", shard))
	for kind, controller := range reconciled() { // a line comes into a log after what it tells of
		eventually(ctx, soonLimit, kind+" "+name+" to be in the log of one set of controllers", func(ctx context.Context) error {
			return same(seenBy(ctx, controller, name), []string{ofShard(controller, shard)})
		})
	}
	return source, generated
}

// seenBy are the instances of a controller that have worked on an object of the tenant, as their logs say.
func seenBy(ctx context.Context, controller, name string) []string {
	GinkgoHelper()
	var found []string
	for _, shard := range append(shards(), mainSet) {
		instance := ofShard(controller, shard)
		for _, pod := range podsOf(ctx, instance) {
			log, err := here.Cluster.Kubectl(ctx, "", "-n", site.Namespace, "logs", pod.Name)
			must(err)
			if tellsOf(log, name) {
				found = append(found, instance)
			}
		}
	}
	return found
}

// tellsOf tells whether a log in JSON has a line about an object of the tenant.
func tellsOf(log, name string) bool {
	GinkgoHelper()
	lines := bufio.NewScanner(strings.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Namespace, Name string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Namespace == tenant && line.Name == name {
			return true
		}
	}
	must(lines.Err())
	return false
}
