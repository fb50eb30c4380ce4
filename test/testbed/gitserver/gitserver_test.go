package gitserver_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-autopilot/flux-operator/test/testbed/gitserver"
)

func serve(t *testing.T, opts gitserver.Options) *gitserver.Server {
	t.Helper()
	s, err := gitserver.Serve(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("closing git server: %v", err)
		}
	})
	return s
}

func create(t *testing.T, root, name string) *gitserver.Repo {
	t.Helper()
	repo, err := gitserver.Create(t.Context(), root, name)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func commit(t *testing.T, repo *gitserver.Repo, files map[string]string, remove ...string) string {
	t.Helper()
	sha, err := repo.Commit(t.Context(), "Change files", files, remove...)
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// git is the client: the real program, without anybody's configuration.
func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_SSL_CAINFO=" + os.Getenv("TEST_CA"),
		"GIT_AUTHOR_NAME=client", "GIT_AUTHOR_EMAIL=client@example.test",
		"GIT_COMMITTER_NAME=client", "GIT_COMMITTER_EMAIL=client@example.test",
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := git(t, dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func withUser(t *testing.T, address, user, password string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

func TestCloneAndPush(t *testing.T) {
	donor := httptest.NewTLSServer(nil)
	defer donor.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: donor.Certificate().Raw})))
	t.Setenv("TEST_CA", ca)

	cases := map[string]gitserver.Options{
		"HTTP":              {},
		"HTTPWithPassword":  {User: "user", Password: "se:cr/et"},
		"HTTPSWithPassword": {User: "user", Password: "se:cr/et", TLS: donor.TLS},
	}
	for name, opts := range cases {
		t.Run(name, func(t *testing.T) {
			opts.Root = filepath.Join(t.TempDir(), "repositories")
			s := serve(t, opts)
			repo := create(t, opts.Root, "team/apps")
			commit(t, repo, map[string]string{"README.md": "first\n"})

			address := s.URL(repo.Name)
			if opts.User != "" {
				address = withUser(t, address, opts.User, opts.Password)
			}
			home := t.TempDir()
			mustGit(t, home, "clone", "--quiet", address, "work")
			work := filepath.Join(home, "work")

			// Above a megabyte git sends the push chunked; random bytes, so that compression does not make it small again.
			big := make([]byte, 3<<20)
			for i := range big {
				big[i] = byte(rand.Uint32())
			}
			write(t, filepath.Join(work, "big"), string(big))
			mustGit(t, work, "add", ".")
			mustGit(t, work, "commit", "--quiet", "-m", "Add a big file")
			mustGit(t, work, "push", "--quiet", "origin", "HEAD:main")

			head, err := repo.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(mustGit(t, work, "rev-parse", "HEAD"), head); diff != "" {
				t.Errorf("head (-client +server):\n%s", diff)
			}

			next := commit(t, repo, map[string]string{"README.md": "second\n"}, "big")
			mustGit(t, work, "pull", "--quiet", "--ff-only")
			if diff := cmp.Diff(next, mustGit(t, work, "rev-parse", "HEAD")); diff != "" {
				t.Errorf("head after pull (-server +client):\n%s", diff)
			}
			if diff := cmp.Diff("README.md", mustGit(t, work, "ls-files")); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	root := t.TempDir()
	s := serve(t, gitserver.Options{Root: root, User: "user", Password: "secret"})
	repo := create(t, root, "apps")
	before := commit(t, repo, map[string]string{"a": "1"})

	home := t.TempDir()
	right := withUser(t, s.URL("apps"), "user", "secret")
	wrong := withUser(t, s.URL("apps"), "user", "guess")
	mustGit(t, home, "clone", "--quiet", right, "work")
	work := filepath.Join(home, "work")
	mustGit(t, work, "commit", "--quiet", "--allow-empty", "-m", "Empty")

	attempts := map[string][]string{
		"CloneWrongPassword": {"clone", "--quiet", wrong, filepath.Join(home, "one")},
		"CloneAnonymous":     {"clone", "--quiet", s.URL("apps"), filepath.Join(home, "two")},
		"PushWrongPassword":  {"push", "--quiet", wrong, "HEAD:main"},
	}
	for name, args := range attempts {
		t.Run(name, func(t *testing.T) {
			out, err := git(t, work, args...)
			if err == nil {
				t.Fatal("let in")
			}
			if !strings.Contains(out, "Authentication failed") && !strings.Contains(out, "could not read Username") {
				t.Errorf("refused for another reason: %s", out)
			}
		})
	}
	if head, err := repo.Head(t.Context()); err != nil || head != before {
		t.Errorf("head %q, error %v, want %q", head, err, before)
	}
}

func TestServerKeepsToItsRoot(t *testing.T) {
	parent := t.TempDir()
	root := filepath.Join(parent, "root")
	s := serve(t, gitserver.Options{Root: root})
	create(t, root, "inside")
	commit(t, create(t, parent, "outside"), map[string]string{"secret": "x"})

	for _, name := range []string{"absent", "../outside", "inside.git/../../outside", "%2e%2e/outside"} {
		if out, err := git(t, t.TempDir(), "ls-remote", s.URL(name)); err == nil {
			t.Errorf("%q was served: %s", name, out)
		}
	}
}

func TestCommit(t *testing.T) {
	root := t.TempDir()
	repo := create(t, root, "apps")
	if _, err := repo.Head(t.Context()); !errors.Is(err, gitserver.ErrEmpty) {
		t.Errorf("head of an empty repository: %v", err)
	}

	commit(t, repo, map[string]string{"dir/a.yaml": "a: 1\n", "dir/b.yaml": "", "with space.txt": "no newline"})
	commit(t, repo, nil)
	last := commit(t, repo, map[string]string{"dir/a.yaml": "a: 2\n"}, "dir/b.yaml")

	got := map[string]string{
		"files":   mustGit(t, repo.Dir, "ls-tree", "-r", "--name-only", last),
		"content": mustGit(t, repo.Dir, "show", last+":dir/a.yaml"),
		"kept":    mustGit(t, repo.Dir, "show", last+":with space.txt"),
		"author":  mustGit(t, repo.Dir, "log", "-1", "--format=%an <%ae> %s", last),
		"commits": mustGit(t, repo.Dir, "rev-list", "--count", "main"),
		"fsck":    mustGit(t, repo.Dir, "fsck", "--strict"),
	}
	want := map[string]string{
		"files":   "dir/a.yaml\nwith space.txt",
		"content": "a: 2",
		"kept":    "no newline",
		"author":  "testbed <testbed@example.test> Change files",
		"commits": "3",
		"fsck":    "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("repository (-want +got):\n%s", diff)
	}

	again, err := gitserver.Open(root, "apps")
	if err != nil {
		t.Fatal(err)
	}
	if head, err := again.Head(t.Context()); err != nil || head != last {
		t.Errorf("head %q, error %v, want %q", head, err, last)
	}
}

func TestCommitRefusesBadPaths(t *testing.T) {
	repo := create(t, t.TempDir(), "apps")
	before := commit(t, repo, map[string]string{"a": "1"})
	for _, path := range []string{"", ".", "/abs", "../up", "a/../b", "a//b", ".git/config", "x/.GIT/hooks/y", "new\nline", `quo"te`} {
		if _, err := repo.Commit(t.Context(), "Bad", map[string]string{path: "x"}); err == nil {
			t.Errorf("path %q was written", path)
		}
		if _, err := repo.Commit(t.Context(), "Bad", nil, path); err == nil {
			t.Errorf("path %q was removed", path)
		}
	}
	if _, err := repo.Commit(t.Context(), "Bad", nil, "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing an absent file: %v", err)
	}
	if head, err := repo.Head(t.Context()); err != nil || head != before {
		t.Errorf("head %q, error %v, want %q", head, err, before)
	}
}

func TestNames(t *testing.T) {
	root := t.TempDir()
	create(t, root, "apps")
	create(t, root, "team/apps")
	if _, err := gitserver.Create(t.Context(), root, "apps"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating twice: %v", err)
	}
	if _, err := gitserver.Open(root, "absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening an absent repository: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/b/c", "a/../b", "A", "x.git", "-x", "a b", "x\n"} {
		if _, err := gitserver.Create(t.Context(), root, name); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
}

func TestCommitEndsWithItsContext(t *testing.T) {
	repo := create(t, t.TempDir(), "apps")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := repo.Commit(ctx, "Late", map[string]string{"a": "1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
