package gitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	suffix = ".git"
	// branch is the only branch the testbed writes to, and the default branch of its repositories.
	branch = "main"
	ref    = "refs/heads/" + branch
)

// ErrEmpty says that a repository has no commit yet.
var ErrEmpty = errors.New("repository has no commit")

// Names are one or two lower-case components, so that no name can leave the root or reach a repository's own files.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}(/[a-z0-9][a-z0-9-]{0,62})?$`)

// Repo is a bare repository on disk whose default branch is main.
type Repo struct {
	// Name is the path on the server without ".git".
	Name string
	// Dir is the folder of the bare repository.
	Dir string

	// mu lets commits follow each other; git itself refuses to lose those of somebody else.
	mu sync.Mutex
}

// Create makes an empty repository under root. The name is one or two components of lower-case letters, digits and
// hyphens: "apps" or "team/apps". A repository that is there already is an error that wraps fs.ErrExist.
func Create(ctx context.Context, root, name string) (*Repo, error) {
	repo, err := locate(root, name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(repo.Dir), 0o755); err != nil {
		return nil, fmt.Errorf("creating repository %q: %w", name, err)
	}
	if err := os.Mkdir(repo.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating repository %q: %w", name, err)
	}
	if _, err := runGit(ctx, repo.Dir, nil, "init", "--quiet", "--bare", "--initial-branch="+branch, "."); err != nil {
		return nil, errors.Join(fmt.Errorf("creating repository %q: %w", name, err), os.RemoveAll(repo.Dir))
	}
	return repo, nil
}

// Open finds a repository that Create made earlier; an absent one is an error that wraps fs.ErrNotExist.
func Open(root, name string) (*Repo, error) {
	repo, err := locate(root, name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(repo.Dir, "HEAD")); err != nil {
		return nil, fmt.Errorf("opening repository %q: %w", name, err)
	}
	return repo, nil
}

func locate(root, name string) (*Repo, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("checking repository name %q: want one or two components of a-z, 0-9 and hyphens", name)
	}
	dir, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(name)+suffix))
	if err != nil {
		return nil, fmt.Errorf("finding repository %q: %w", name, err)
	}
	return &Repo{Name: name, Dir: dir}, nil
}

// Head returns the SHA of the last commit on main, or ErrEmpty.
func (r *Repo) Head(ctx context.Context) (string, error) {
	out, err := runGit(ctx, r.Dir, nil, "for-each-ref", "--format=%(objectname)", ref)
	if err != nil {
		return "", fmt.Errorf("reading head of %q: %w", r.Name, err)
	}
	sha := strings.TrimSpace(out)
	if sha == "" {
		return "", fmt.Errorf("reading head of %q: %w", r.Name, ErrEmpty)
	}
	return sha, nil
}

// Commit adds one commit on top of main and returns its SHA. Files maps paths to contents that are written whole; remove
// names files or folders to delete, which must exist. Everything else stays as it is; a commit that changes nothing is
// made as well. A push that lands in between is never lost: the commit then fails.
func (r *Repo) Commit(ctx context.Context, message string, files map[string]string, remove ...string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	parent, err := r.Head(ctx)
	if err != nil && !errors.Is(err, ErrEmpty) {
		return "", err
	}
	for _, path := range slices.Concat(slices.Sorted(maps.Keys(files)), remove) {
		if err := checkPath(path); err != nil {
			return "", fmt.Errorf("committing to %q: %w", r.Name, err)
		}
	}
	for _, path := range remove {
		if _, err := runGit(ctx, r.Dir, nil, "cat-file", "-e", parent+":"+path); err != nil {
			return "", fmt.Errorf("committing to %q: removing %q: %w", r.Name, path, errors.Join(fs.ErrNotExist, err))
		}
	}

	stream := importStream(change{parent: parent, message: message, files: files, remove: remove, when: time.Now()})
	if _, err := runGit(ctx, r.Dir, stream, "fast-import", "--quiet", "--date-format=raw"); err != nil {
		return "", fmt.Errorf("committing to %q: %w", r.Name, err)
	}
	return r.Head(ctx)
}

// checkPath accepts what can be a file in a work tree and needs no quoting in an import stream.
func checkPath(path string) error {
	if !fs.ValidPath(path) || path == "." || strings.ContainsAny(path, "\n\"\x00") {
		return fmt.Errorf("path %q cannot be a file in a repository", path)
	}
	for component := range strings.SplitSeq(path, "/") {
		if strings.EqualFold(component, ".git") {
			return fmt.Errorf("path %q leads into git's own folder", path)
		}
	}
	return nil
}

// change is one commit to be made.
type change struct {
	parent  string
	message string
	files   map[string]string
	remove  []string
	when    time.Time
}

// importStream writes the change in the language of git fast-import, which makes blobs, trees and the commit in one go.
func importStream(c change) *bytes.Buffer {
	var b bytes.Buffer
	fmt.Fprintf(&b, "commit %s\n", ref)
	fmt.Fprintf(&b, "committer %s <%s> %d +0000\n", author, email, c.when.Unix())
	fmt.Fprintf(&b, "data %d\n%s\n", len(c.message), c.message)
	if c.parent != "" {
		fmt.Fprintf(&b, "from %s\n", c.parent)
	}
	for _, path := range c.remove {
		fmt.Fprintf(&b, "D %s\n", path)
	}
	for _, path := range slices.Sorted(maps.Keys(c.files)) {
		fmt.Fprintf(&b, "M 100644 inline %s\ndata %d\n%s\n", path, len(c.files[path]), c.files[path])
	}
	return &b
}
