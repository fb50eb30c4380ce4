// Package arch states the import law of this project as data and checks a package graph against it.
//
// The law in words is in docs/ARCHITECTURE.md, the reasons are in docs/adr/0002-rooms-and-import-law.md.
// The linter configuration says the same a second time, with allow lists of outside packages for each tree.
package arch

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Module is the path of the module that the law is about.
const Module = "github.com/flux-autopilot/flux-operator"

// Package is what the law looks at in a Go package. The field names are those of go list -json.
type Package struct {
	// ImportPath is the whole path, module included.
	ImportPath string
	// Doc is the first sentence of the package comment, empty where there is none.
	Doc string
	// Imports are the packages that the non-test files import.
	Imports []string
	// TestImports are the packages that the test files inside the package import.
	TestImports []string
	// XTestImports are the packages that the test files outside the package (name_test) import.
	XTestImports []string
}

// Areas of the module. An area is the folder that a rule is about, a package belongs to the area of the folder it lies under.
const (
	areaMain         = "."
	areaAPIs         = "apis"
	areaControllers  = "controllers"
	areaCommand      = "cmd"
	areaConfig       = "config"
	areaDistribution = "distribution"
	areaDocs         = "docs"
	areaTest         = "test"
	areaTools        = "tools"

	roomVersion   = "pkg/version"
	roomRender    = "pkg/render"
	roomPreflight = "pkg/preflight"
	roomInventory = "pkg/inventory"

	roomArtifact = "pkg/artifact"
	roomApply    = "pkg/apply"
	roomMigrate  = "pkg/migrate"
	roomSnapshot = "pkg/snapshot"
	roomReport   = "pkg/report"
)

// pureRooms decide; ioRooms act.
func pureRooms() []string { return []string{roomPreflight, roomRender, roomVersion, roomInventory} }
func ioRooms() []string {
	return []string{roomArtifact, roomApply, roomMigrate, roomSnapshot, roomReport}
}

// door says which other areas an area may import, and the sentence a violation is answered with.
type door struct {
	to  []string
	law string
}

// doors is the import law. Importing within one's own area is always allowed.
func doors() map[string]door {
	io := door{[]string{areaAPIs}, "an IO room imports apis alone: there are no doors between IO rooms, and none to the pure ones"}
	rooms := slices.Concat(pureRooms(), ioRooms())
	law := map[string]door{
		areaMain:         {append([]string{areaAPIs, areaControllers, roomPreflight}, ioRooms()...), "main constructs controllers, IO rooms and the facts for preflight, it decides nothing"},
		areaAPIs:         {nil, "apis imports nothing of ours"},
		areaControllers:  {append([]string{areaAPIs}, rooms...), "controllers composes the rooms and nothing else"},
		areaCommand:      {append([]string{areaAPIs, areaConfig, roomArtifact, roomMigrate, roomSnapshot, roomReport}, pureRooms()...), "a command uses apis, the rooms that read a cluster or a registry, and the definitions in config"},
		areaConfig:       {[]string{areaDistribution}, "config imports nothing of ours but the releases whose images a bundle names"},
		areaDistribution: {[]string{areaAPIs}, "distribution imports nothing of ours but apis"},
		areaDocs:         {[]string{areaAPIs}, "docs imports nothing of ours but apis"},
		areaTools:        {nil, "tools imports nothing of ours"},
		areaTest:         {append([]string{areaAPIs, areaControllers, areaDistribution, areaTools}, rooms...), "test never imports commands or docs"},

		roomVersion:   {[]string{areaAPIs}, "version imports nothing of ours but apis"},
		roomRender:    {[]string{areaAPIs, roomVersion}, "render imports apis and version, the pure room to its right"},
		roomPreflight: {[]string{areaAPIs, roomRender, roomVersion}, "preflight imports apis, render and version, the pure rooms to its right"},
		roomInventory: {[]string{areaAPIs}, "inventory imports nothing of ours but apis"},
	}
	for _, room := range ioRooms() {
		law[room] = io
	}
	return law
}

// testDoors are open to the test files of every area: real distributions and servers to test against.
func testDoors() []string { return []string{areaDistribution, areaTest} }

// impure are the outside packages, with everything below them, that bring network, disk, processes, a cluster client or logging with them.
func impure() []string {
	return []string{
		"net", "os", "io/ioutil", "syscall", "log", "plugin", "unsafe",
		"github.com/go-logr", "k8s.io/klog", "k8s.io/client-go", "sigs.k8s.io/controller-runtime",
		"github.com/fluxcd/pkg/ssa", "github.com/fluxcd/pkg/runtime", "github.com/fluxcd/pkg/auth",
		"oras.land/oras-go", "github.com/google/go-containerregistry/pkg/v1/remote", "github.com/prometheus/client_golang",
	}
}

// drawers are names of folders that say nothing about their content and so collect everything.
func drawers() []string {
	return []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "testutil", "testutils"}
}

// folders are the top-level folders that may exist, with or without Go in them; folders whose names start with a dot are not looked at.
func folders() []string {
	return []string{
		areaAPIs, areaControllers, "pkg", areaCommand, areaConfig, areaDistribution, areaDocs, areaTest, areaTools,
		"bundle", "catalog", "charts", "terraform",
		"bin", "dist", "out", // build output, ignored by git
	}
}

// Check returns a sentence for each way in which the packages break the law, sorted by package; none means that the law holds.
func Check(packages []Package) []string {
	var broken []string
	law := doors()
	for _, p := range packages {
		own, ours := areaOf(p.ImportPath)
		if !ours {
			continue
		}
		broken = append(broken, checkPlace(p, own, law)...)
		broken = append(broken, checkDoors(p, own, law[own])...)
		broken = append(broken, checkPurity(p, own)...)
	}
	slices.Sort(broken)
	return slices.Compact(broken)
}

// CheckFolders returns a sentence for each top-level folder that the house does not have.
func CheckFolders(names []string) []string {
	var broken []string
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(folders(), name) {
			broken = append(broken, fmt.Sprintf("%s: unknown top-level folder; a new one needs an ADR", name))
		}
	}
	return broken
}

// checkPlace judges where a package lies, what it is called and whether it says what it is for.
func checkPlace(p Package, own string, law map[string]door) []string {
	var broken []string
	name := relative(p.ImportPath)
	if _, known := law[own]; !known {
		broken = append(broken, fmt.Sprintf("%s: unknown room %s; a new one needs an ADR (known: %s)",
			name, own, strings.Join(slices.Sorted(maps.Keys(law)), ", ")))
	}
	for element := range strings.SplitSeq(name, "/") {
		if slices.Contains(drawers(), element) {
			broken = append(broken, fmt.Sprintf("%s: %q says nothing about its content; name a package after what it does", name, element))
		}
	}
	if strings.TrimSpace(p.Doc) == "" {
		broken = append(broken, name+": no package comment; say in one sentence what the package is for (a package of tests needs a doc.go)")
	}
	return broken
}

// checkDoors judges the imports of our own packages.
func checkDoors(p Package, own string, d door) []string {
	var broken []string
	judge := func(imports, allowed []string) {
		for _, imported := range imports {
			other, ours := areaOf(imported)
			if !ours || other == own || slices.Contains(allowed, other) {
				continue
			}
			broken = append(broken, fmt.Sprintf("%s imports %s: %s", relative(p.ImportPath), relative(imported), d.law))
		}
	}
	judge(p.Imports, d.to)
	judge(slices.Concat(p.TestImports, p.XTestImports), slices.Concat(d.to, testDoors()))
	return broken
}

// checkPurity judges the outside imports of a pure room; its tests may read files.
func checkPurity(p Package, own string) []string {
	if !slices.Contains(pureRooms(), own) {
		return nil
	}
	var broken []string
	for _, imported := range p.Imports {
		for _, root := range impure() {
			if imported == root || strings.HasPrefix(imported, root+"/") {
				broken = append(broken, fmt.Sprintf("%s imports %s: a pure room never touches network, disk, clock, client or logger",
					relative(p.ImportPath), imported))
			}
		}
	}
	return broken
}

// areaOf gives the area that an import path belongs to, and whether the path is one of ours at all.
func areaOf(importPath string) (string, bool) {
	if importPath == Module {
		return areaMain, true
	}
	rest, ours := strings.CutPrefix(importPath, Module+"/")
	if !ours {
		return "", false
	}
	first, below, _ := strings.Cut(rest, "/")
	if first != "pkg" {
		return first, true
	}
	room, _, _ := strings.Cut(below, "/")
	return path.Join(first, room), true
}

// relative shortens an import path of ours for a message.
func relative(importPath string) string {
	if importPath == Module {
		return "main"
	}
	return strings.TrimPrefix(importPath, Module+"/")
}
