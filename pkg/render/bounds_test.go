package render

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fluxcd/pkg/apis/kustomize"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestMemoryIsBounded: whatever is large, in a release or in a spec, is refused before it costs much.
func TestMemoryIsBounded(t *testing.T) {
	const source = "flux/v2.9.0/source-controller.yaml"
	fill := func(text string, size int) string { return strings.Repeat(text, size/len(text)) }
	replace := func(content string) func(fstest.MapFS) {
		return func(files fstest.MapFS) { files[source].Data = []byte(content) }
	}
	manyShards := func(i *v1.FluxInstance) { sharded(shardNames(100)...)(i) }
	for _, tt := range []struct {
		reason  string
		release func(fstest.MapFS)
		change  func(*v1.FluxInstance)
		want    string
	}{
		{"a list of empty lists", replace("a: [" + fill("[],", maxFileBytes-8) + "]"), nil, "no apiVersion"},
		{"a list of words", replace("a: [" + fill("a,", maxFileBytes-8) + "]"), nil, "no apiVersion"},
		{"a list of anchors", replace("a: [" + fill("&a ,", maxFileBytes-8) + "]"), nil, "no apiVersion"},
		{"a map of nothing", replace(fill("? \n", maxFileBytes)), nil, "not a string"},
		{"nesting", replace("a: " + fill("[", maxFileBytes-8)), nil, "depth"},
		{"a file that is too large", replace(fill("#", maxFileBytes+1)), nil, "larger than 1048576 bytes"},
		{"files that are too large together", func(files fstest.MapFS) {
			for name, file := range files {
				file.Data = append(file.Data, fill("#", maxFileBytes-len(file.Data))...)
				files[name] = file
			}
		}, nil, "the release larger than 2097152 bytes"},
		{"a large Deployment for each shard", func(files fstest.MapFS) {
			files[source].Data = bytes.Replace(files[source].Data, []byte("        - --watch-all-namespaces\n"), []byte(fill("        - --a=b\n", maxFileBytes/2)), 1)
		}, manyShards, "become larger than 16777216 bytes"},
		{"a large Service for each shard", func(files fstest.MapFS) {
			files[source].Data = bytes.Replace(files[source].Data, []byte("  ports:\n"), []byte("  ports:\n"+fill("  - {}\n", maxFileBytes/2)), 1)
		}, manyShards, "become larger than 16777216 bytes"},
		{"a large patch of everything", nil, func(i *v1.FluxInstance) {
			manyShards(i)
			patched(kustomize.Patch{Target: &kustomize.Selector{Kind: ".*"}, Patch: "metadata: {annotations: {a: " + fill("x", 1<<20) + "}}"})(i)
		}, "become larger than 16777216 bytes"},
		{"a patch that doubles everything", nil, func(i *v1.FluxInstance) {
			manyShards(i)
			patched(kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: doubling(8)})(i)
		}, "become larger than 16777216 bytes"},
		{"a bomb of aliases", nil, func(i *v1.FluxInstance) {
			bomb := "a0: &a0 [" + fill("x,", 20) + "]\n"
			for level := range 9 {
				bomb += fmt.Sprintf("a%d: &a%d [%s]\n", level+1, level+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", level), 10), ", "))
			}
			patched(kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: bomb})(i)
		}, "it becomes larger than 3145728 bytes"},
		{"annotations that no object may have", nil, func(i *v1.FluxInstance) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Annotations: map[string]string{"a": fill("x", 1<<20)}}
		}, "spec.commonMetadata.annotations"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			files, i := copyOf(t), instance()
			if tt.release != nil {
				tt.release(files)
			}
			if tt.change != nil {
				tt.change(i)
			}
			before := allocated()
			_, err := Render(files, "v2.9.0", i)
			if took := allocated() - before; took > 512<<20 {
				t.Errorf("it allocated %d MB", took>>20)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Render = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestManyShards: the bounds leave room for as many shards as the API allows, with all controllers, each of them patched.
func TestManyShards(t *testing.T) {
	tree := generated(t)
	names := releases(t, tree)
	i := complete(tree, names[len(names)-1])
	sharded(shardNames(100)...)(i)
	patched(kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "[{op: copy, from: /metadata/labels, path: /spec/template/metadata/annotations/labels}, {op: remove, path: /spec/template/metadata/annotations/labels}]"})(i)
	set, err := Render(tree, names[len(names)-1], i)
	if err != nil {
		t.Fatal(err)
	}
	checkSet(t, i, set)
}
