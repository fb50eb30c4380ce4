package render

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// newest picks the newest release of the distribution.
func newest(b *testing.B) (fs.FS, string) {
	b.Helper()
	tree := generated(b)
	return tree, version.Newest(releases(b, tree))
}

// BenchmarkRender renders all components of the newest release: reading, parsing, changing and summing up. Beside large multi-tenant
// installations with shards stand the same with everything a spec can ask for, and the smallest kustomize run over the same files,
// which changes nothing.
func BenchmarkRender(b *testing.B) {
	tree, release := newest(b)
	wanted := map[string]*v1.FluxInstance{"everything": everything(tree, release)}
	for _, shards := range []int{0, 5, 50} {
		i := instance()
		i.Spec.Components = knownComponents()
		i.Spec.Cluster = &v1.Cluster{Size: "large", Multitenant: true, NetworkPolicy: true}
		if shards > 0 {
			sharded(shardNames(shards)...)(i)
		}
		wanted[fmt.Sprintf("shards=%d", shards)] = i
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Render(tree, release, wanted[name]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("kustomize", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			runKustomize(b, tree, release)
		}
	})
}

func shardNames(count int) []string {
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("shard%d", i+1))
	}
	return names
}

func runKustomize(b *testing.B, tree fs.FS, release string) {
	b.Helper()
	files, err := fs.Glob(tree, path.Join("flux", release, "*.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	memory := filesys.MakeFsInMemory()
	kustomization := types.Kustomization{}
	for _, file := range files {
		content, err := fs.ReadFile(tree, file)
		if err != nil {
			b.Fatal(err)
		}
		if err := memory.WriteFile(path.Base(file), content); err != nil {
			b.Fatal(err)
		}
		kustomization.Resources = append(kustomization.Resources, path.Base(file))
	}
	content, err := yaml.Marshal(kustomization)
	if err != nil {
		b.Fatal(err)
	}
	if err := memory.WriteFile("kustomization.yaml", content); err != nil {
		b.Fatal(err)
	}
	set, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, ".")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := set.AsYaml(); err != nil {
		b.Fatal(err)
	}
}
