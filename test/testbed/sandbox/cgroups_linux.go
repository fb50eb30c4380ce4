package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// controllers are what the kubelet asks of the unified hierarchy.
	controllers   = "+cpuset +cpu +io +memory +pids"
	cgroupPoll    = 50 * time.Millisecond
	cgroupDepth   = 12
	unifiedFolder = "unified"
)

// CreateCgroup makes the cluster's control group in every hierarchy of the machine.
func CreateCgroup(cluster string) error {
	name, err := CgroupName(cluster)
	if err != nil {
		return err
	}
	if unified() {
		return createUnified(name)
	}
	return createLegacy(name)
}

func createLegacy(name string) error {
	hierarchies, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		// Beside the old hierarchies the unified one has no controllers.
		if filepath.Base(h) == unifiedFolder {
			continue
		}
		dir := filepath.Join(h, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making control group: %w", err)
		}
		// A new cpuset has neither CPUs nor memory, and nothing can run in it until it has.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := copyValue(filepath.Join(h, file), filepath.Join(dir, file)); err != nil {
				return err
			}
		}
	}
	return nil
}

func createUnified(name string) error {
	dir := filepath.Join(cgroupRoot, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making control group: %w", err)
	}
	for _, d := range []string{cgroupRoot, dir} {
		// One by one: a controller that the kernel lacks must not take the others with it.
		for controller := range strings.FieldsSeq(controllers) {
			err := os.WriteFile(filepath.Join(d, "cgroup.subtree_control"), []byte(controller), 0o644)
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("enabling controller %q in control group %q: %w", controller, d, err)
			}
		}
	}
	return nil
}

func unified() bool {
	var stat unix.Statfs_t
	return unix.Statfs(cgroupRoot, &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchies lists the folders in which control groups of the machine begin.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("listing control groups: %w", err)
	}
	var all []string
	for _, entry := range entries {
		// Links are second names of a hierarchy, such as cpuacct for cpu,cpuacct.
		if entry.IsDir() {
			all = append(all, filepath.Join(cgroupRoot, entry.Name()))
		}
	}
	return all, nil
}

func copyValue(from, to string) error {
	value, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading control group: %w", err)
	}
	if err := os.WriteFile(to, bytes.TrimSpace(value), 0o644); err != nil {
		return fmt.Errorf("setting up control group: %w", err)
	}
	return nil
}

// cgroups lists the folders of the cluster's control groups that exist.
func cgroups(cluster string) ([]string, error) {
	name, err := CgroupName(cluster)
	if err != nil {
		return nil, err
	}
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, h := range all {
		dir := filepath.Join(h, name)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			found = append(found, dir)
		}
	}
	return found, nil
}

// RemoveCgroup removes the control groups of the cluster with all below them. It tries until ctx ends, because a group empties a
// moment after its processes have ended; it ends none itself, since all of them went with their namespace.
func RemoveCgroup(ctx context.Context, cluster string) error {
	ticker := time.NewTicker(cgroupPoll)
	defer ticker.Stop()
	for {
		last := removeOnce(cluster)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("removing control groups of %q: %w: %w", cluster, ctx.Err(), last)
		case <-ticker.C:
		}
	}
}

func removeOnce(cluster string) error {
	roots, err := cgroups(cluster)
	if err != nil {
		return err
	}
	for _, root := range roots {
		dirs, err := tree(root)
		if err != nil {
			return err
		}
		slices.Reverse(dirs)
		for _, dir := range dirs {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("removing %q: %w", dir, err)
			}
		}
	}
	return nil
}

// tree lists a folder and the folders below it, parents first.
func tree(root string) ([]string, error) {
	dirs := []string{root}
	for i := 0; i < len(dirs); i++ {
		depth := strings.Count(dirs[i], "/") - strings.Count(root, "/")
		if depth > cgroupDepth {
			return nil, fmt.Errorf("listing control group %q: nested too deeply", root)
		}
		entries, err := os.ReadDir(dirs[i])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing control group: %w", err)
		}
		for _, entry := range entries {
			if entry.IsDir() {
				dirs = append(dirs, filepath.Join(dirs[i], entry.Name()))
			}
		}
	}
	return dirs, nil
}
