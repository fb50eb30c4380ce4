package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-autopilot/flux-operator/test/arch"
)

// TestTheHouseKeepsTheLaw holds the real module against the law.
func TestTheHouseKeepsTheLaw(t *testing.T) {
	root := moduleRoot(t)
	packages := listPackages(t, root)
	if len(packages) == 0 {
		t.Fatal("go list found no package: the law was held against nothing")
	}
	for _, broken := range append(arch.Check(packages), arch.CheckFolders(listFolders(t, root))...) {
		t.Error(broken)
	}
}

// TestEveryRuleBites breaks each rule in a made-up graph and expects the sentence that names it.
func TestEveryRuleBites(t *testing.T) {
	cases := map[string]struct {
		reason string
		broken arch.Package
		want   string
	}{
		"ApisImportsARoom": {
			reason: "the words users say depend on nothing of ours",
			broken: imports("apis/v1", "pkg/version"),
			want:   "apis/v1 imports pkg/version: apis imports nothing of ours",
		},
		"PureRoomLooksLeft": {
			reason: "pure rooms know only the rooms to their right",
			broken: imports("pkg/version", "pkg/render"),
			want:   "pkg/version imports pkg/render: version imports nothing of ours but apis",
		},
		"RenderLooksLeft": {
			reason: "render does not know what preflight thinks of its work",
			broken: imports("pkg/render", "pkg/preflight"),
			want:   "pkg/render imports pkg/preflight: render imports apis and version, the pure room to its right",
		},
		"PureRoomImportsIORoom": {
			reason: "deciding never acts",
			broken: imports("pkg/preflight", "pkg/apply"),
			want:   "pkg/preflight imports pkg/apply: preflight imports apis, render and version, the pure rooms to its right",
		},
		"InventoryImportsNeighbour": {
			reason: "inventory is algebra over ids, it stands alone",
			broken: imports("pkg/inventory", "pkg/render"),
			want:   "pkg/inventory imports pkg/render: inventory imports nothing of ours but apis",
		},
		"DoorBetweenIORooms": {
			reason: "only controllers composes",
			broken: imports("pkg/migrate", "pkg/apply"),
			want:   "pkg/migrate imports pkg/apply: an IO room imports apis alone: there are no doors between IO rooms, and none to the pure ones",
		},
		"IORoomDecides": {
			reason: "an IO room is told what to do by its parameters",
			broken: imports("pkg/apply/wait", "pkg/inventory"),
			want:   "pkg/apply/wait imports pkg/inventory: an IO room imports apis alone: there are no doors between IO rooms, and none to the pure ones",
		},
		"RoomImportsTheShell": {
			reason: "dependencies point inwards",
			broken: imports("pkg/report", "controllers"),
			want:   "pkg/report imports controllers: an IO room imports apis alone: there are no doors between IO rooms, and none to the pure ones",
		},
		"ControllersGeneratesADistribution": {
			reason: "the distribution is data that artifact opens",
			broken: imports("controllers", "distribution"),
			want:   "controllers imports distribution: controllers composes the rooms and nothing else",
		},
		"MainDecides": {
			reason: "main only constructs",
			broken: imports("", "pkg/render"),
			want:   "main imports pkg/render: main constructs controllers, IO rooms and the facts for preflight, it decides nothing",
		},
		"CommandConstructsControllers": {
			reason: "only main constructs",
			broken: imports("cmd/flux-operator", "controllers"),
			want:   "cmd/flux-operator imports controllers: a command uses apis, the rooms that read a cluster or a registry, and the definitions in config",
		},
		"DistributionImportsARoom": {
			reason: "what we ship does not depend on what installs it",
			broken: imports("distribution/generate", "pkg/render"),
			want:   "distribution/generate imports pkg/render: distribution imports nothing of ours but apis",
		},
		"ProductImportsTest": {
			reason: "test code is not part of the product",
			broken: imports("pkg/artifact", "test/testbed"),
			want:   "pkg/artifact imports test/testbed: an IO room imports apis alone: there are no doors between IO rooms, and none to the pure ones",
		},
		"PureRoomReadsTheDisk": {
			reason: "same input, same output",
			broken: arch.Package{ImportPath: arch.Module + "/pkg/render", Doc: "d", Imports: []string{"os"}},
			want:   "pkg/render imports os: a pure room never touches network, disk, clock, client or logger",
		},
		"PureRoomDials": {
			reason: "same input, same output",
			broken: arch.Package{ImportPath: arch.Module + "/pkg/version", Doc: "d", Imports: []string{"net/http"}},
			want:   "pkg/version imports net/http: a pure room never touches network, disk, clock, client or logger",
		},
		"PureRoomHoldsAClient": {
			reason: "a renderer with a client can do anything",
			broken: arch.Package{ImportPath: arch.Module + "/pkg/preflight", Doc: "d", Imports: []string{"sigs.k8s.io/controller-runtime/pkg/client"}},
			want:   "pkg/preflight imports sigs.k8s.io/controller-runtime/pkg/client: a pure room never touches network, disk, clock, client or logger",
		},
		"PureRoomTestImportsIORoom": {
			reason: "the law holds in tests too, or a test becomes the door",
			broken: arch.Package{ImportPath: arch.Module + "/pkg/render", Doc: "d", XTestImports: []string{arch.Module + "/pkg/apply"}},
			want:   "pkg/render imports pkg/apply: render imports apis and version, the pure room to its right",
		},
		"TenthRoom": {
			reason: "a room more is a decision, not an accident",
			broken: imports("pkg/notify"),
			want: "pkg/notify: unknown room pkg/notify; a new one needs an ADR (known: ., apis, cmd, config, controllers, distribution, docs, " +
				"pkg/apply, pkg/artifact, pkg/inventory, pkg/migrate, pkg/preflight, pkg/render, pkg/report, pkg/snapshot, pkg/version, test, tools)",
		},
		"PackageOutsideTheHouse": {
			reason: "internal/ is not a room of this house",
			broken: imports("internal"),
			want: "internal: unknown room internal; a new one needs an ADR (known: ., apis, cmd, config, controllers, distribution, docs, " +
				"pkg/apply, pkg/artifact, pkg/inventory, pkg/migrate, pkg/preflight, pkg/render, pkg/report, pkg/snapshot, pkg/version, test, tools)",
		},
		"Drawer": {
			reason: "such a package collects what nobody wanted to place",
			broken: imports("pkg/render/utils"),
			want:   `pkg/render/utils: "utils" says nothing about its content; name a package after what it does`,
		},
		"NoPackageComment": {
			reason: "a reader enters a package by its comment",
			broken: arch.Package{ImportPath: arch.Module + "/pkg/apply"},
			want:   "pkg/apply: no package comment; say in one sentence what the package is for (a package of tests needs a doc.go)",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{tc.want}, arch.Check([]arch.Package{tc.broken})); diff != "" {
				t.Errorf("%s\nCheck(...): -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestWhatTheLawAllows keeps the law from growing stricter by accident.
func TestWhatTheLawAllows(t *testing.T) {
	allowed := []arch.Package{
		imports("", "apis/v1", "controllers", "pkg/apply", "pkg/artifact"),
		imports("controllers", "apis/v1", "pkg/apply", "pkg/artifact", "pkg/inventory", "pkg/migrate", "pkg/preflight", "pkg/render", "pkg/report", "pkg/version"),
		imports("pkg/preflight", "apis/v1", "pkg/render", "pkg/version"),
		imports("pkg/render", "apis/v1", "pkg/version"),
		imports("pkg/apply", "apis/v1", "pkg/apply/stage"),
		imports("cmd/flux-operator", "apis/v1", "pkg/artifact", "pkg/render", "pkg/version"),
		imports("test/e2e", "apis/v1", "test/testbed"),
		{ImportPath: arch.Module + "/pkg/render", Doc: "d", TestImports: []string{"os", arch.Module + "/distribution"}},
		{ImportPath: arch.Module + "/pkg/apply", Doc: "d", Imports: []string{"os", "sigs.k8s.io/controller-runtime/pkg/client"}},
		{ImportPath: "example.com/elsewhere", Imports: []string{arch.Module + "/controllers"}},
	}
	if diff := cmp.Diff([]string(nil), arch.Check(allowed)); diff != "" {
		t.Errorf("Check(...): -want, +got:\n%s", diff)
	}
}

// TestUnknownFolder names a folder that no rule knows and leaves the rest alone.
func TestUnknownFolder(t *testing.T) {
	got := arch.CheckFolders([]string{"apis", ".git", "pkg", "hack"})
	if diff := cmp.Diff([]string{"hack: unknown top-level folder; a new one needs an ADR"}, got); diff != "" {
		t.Errorf("CheckFolders(...): -want, +got:\n%s", diff)
	}
}

// imports makes a documented package of ours that imports other packages of ours.
func imports(path string, others ...string) arch.Package {
	p := arch.Package{ImportPath: strings.TrimSuffix(arch.Module+"/"+path, "/"), Doc: "documented"}
	for _, other := range others {
		p.Imports = append(p.Imports, arch.Module+"/"+other)
	}
	return p
}

// moduleRoot is where go.mod lies, two folders up from this package.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("looking for the module root: %v", err)
	}
	return root
}

// listPackages asks the go command. A package with an error is still judged by what could be read of it: that it
// does not compile is for other tests to say.
func listPackages(t *testing.T, root string) []arch.Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Doc,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("listing packages: %v\n%s", err, stderr.String())
	}
	var packages []arch.Package
	for decoder := json.NewDecoder(&stdout); ; {
		var p arch.Package
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("reading the list of packages: %v", err)
		}
		packages = append(packages, p)
	}
}

// listFolders gives the names of the top-level folders. It walks the whole tree, because go test keeps a result until a
// file that the test itself looked at changes, and what the go command looks at does not count.
func listFolders(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process took it away meanwhile
		}
		if err != nil || !entry.IsDir() || path == root {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		if filepath.Dir(path) == root {
			names = append(names, entry.Name())
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walking the module: %v", err)
	}
	return names
}
