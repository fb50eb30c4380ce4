package render

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// secret stands in every file outside of a hostile distribution and may come out nowhere.
const secret = "outside-of-the-distribution"

// trick is what is done to a good release to make it a hostile one.
type trick struct {
	// what is done to path, a file in the distribution: write content, cut it to nothing, make it a folder, a link to target, twice or as
	// often as fits into 3 MiB what it is, or remove it. The number is taken modulo the number of tricks.
	what         byte
	path, target string
	content      []byte
}

// play does it, within the distribution. What cannot be done is left undone: the fuzzer will try something else.
func (k trick) play(t *testing.T, root *os.Root, outside string) {
	t.Helper()
	old, _ := root.ReadFile(k.path)
	_ = root.RemoveAll(k.path)
	_ = root.MkdirAll(filepath.Dir(k.path), 0o755)
	switch k.what % 6 {
	case 0:
		_ = root.WriteFile(k.path, k.content, 0o600)
	case 1:
		_ = root.MkdirAll(k.path, 0o755)
	case 2:
		_ = root.Symlink(strings.ReplaceAll(k.target, "OUTSIDE", outside), k.path)
	case 3:
		_ = root.WriteFile(k.path, bytes.Repeat(old, 2), 0o600)
	case 4:
		_ = root.WriteFile(k.path, bytes.Repeat(k.content, 1+3<<20/(1+len(k.content))), 0o600)
	}
}

// FuzzFolder: a folder full of tricks gives an error or a set, and nothing from outside of it.
func FuzzFolder(f *testing.F) {
	const source, rbac, images = "flux/v2.9.0/source-controller.yaml", "flux/v2.9.0/rbac.yaml", "flux-images/v2.9.0/upstream-alpine.yaml"
	for _, path := range []string{source, rbac, images, "flux/v2.9.0", "flux-images/v2.9.0", "flux", "flux-images", ".", "flux/v2.9.0/more.yaml"} {
		for _, target := range []string{"OUTSIDE/" + path, "../../../outside/" + path, "../../outside/" + path, "../outside/" + path, "OUTSIDE", "/", "/etc/passwd", path, ".", ""} {
			f.Add("v2.9.0", byte(2), path, target, []byte(nil))
		}
		for _, what := range []byte{0, 1, 3, 5} {
			f.Add("v2.9.0", what, path, "", []byte("a: 1"))
		}
		for _, content := range []string{"[],", "a: [", "- - - - \n", "---\n", "a,", "{", "#", "a: |\n", "'", "\x00", "&a *a ", "---\na: &a [*a,*a]\n", "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n"} {
			f.Add("v2.9.0", byte(4), path, "", []byte(content))
		}
	}
	for _, name := range []string{"", ".", "..", "../v2.9.0", "v2.9.0/../../outside", "v2.9.0/", "/v2.9.0", `..\v2.9.0`, "2.9.0", "v2.9.0\x00", "v2.9.0+../x", "v2.9.0-..", "v99999999999999999999.0.0"} {
		f.Add(name, byte(0), "flux/"+name+"/rbac.yaml", "", []byte("a: 1"))
	}
	good := copyOf(f)
	above := f.TempDir()
	outside := filepath.Join(above, "outside")
	writeFile(f, filepath.Join(outside, "flux", "v2.9.0", "more.yaml"), []byte(secret))
	for name, file := range good {
		writeFile(f, filepath.Join(outside, name), bytes.ReplaceAll(file.Data, []byte("app.kubernetes.io/component: "), []byte("app.kubernetes.io/component: "+secret+"-")))
	}
	f.Fuzz(func(t *testing.T, release string, what byte, path, target string, content []byte) {
		inside := filepath.Join(above, "inside")
		defer func() { _ = os.RemoveAll(inside) }()
		for name, file := range good {
			writeFile(t, filepath.Join(inside, name), file.Data)
		}
		root, err := os.OpenRoot(inside)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		trick{what, path, target, content}.play(t, root, outside)
		i := everything(fixture(), "v2.9.0")
		i.Spec.Components = instance().Spec.Components
		i.Spec.Kustomize = nil
		checkOutcome(t, func() (*Set, error) {
			set, err := Render(watched{root.FS(), t, release}, release, i)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells what is outside: %v", err)
			}
			if set != nil && slices.ContainsFunc(set.Objects, func(o *unstructured.Unstructured) bool { return strings.Contains(compact(o.Object), secret) }) {
				t.Error("something from outside was rendered")
			}
			return set, err
		})
	})
}

// TestPipe: a file that never ends to open is not opened.
func TestPipe(t *testing.T) {
	const name = "flux/v2.9.0/rbac.yaml"
	dir := t.TempDir()
	for name, file := range copyOf(t) {
		writeFile(t, filepath.Join(dir, name), file.Data)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, name)), unix.Mkfifo(filepath.Join(dir, name), 0o600)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	failed := make(chan error, 1)
	go func() {
		_, err := Render(root.FS(), "v2.9.0", instance())
		failed <- err
	}()
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), name+": it is not a regular file") {
			t.Errorf("Render = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for somebody to write into the pipe")
	}
}

func writeFile(tb testing.TB, name string, content []byte) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		tb.Fatal(err)
	}
}
