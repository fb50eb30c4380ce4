package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// downPoll is how often the end of a cluster is asked for.
const downPoll = 50 * time.Millisecond

// holder is the process whose end is the cluster's end.
type holder struct {
	PID      int    `json:"pid"`
	Identity string `json:"identity"`
}

// alive says whether the process is still the one that was started.
func (h holder) alive() bool {
	// Numbers below mean groups of processes, or the machine's first one, to whoever sends a signal.
	if h.PID <= 1 {
		return false
	}
	now, err := identity(h.PID)
	return err == nil && now == h.Identity
}

// kept are the folders that a removed cluster leaves in its state folder: logs for whoever asks what happened, images and
// their digests so that the next cluster need not push them again.
func kept() []string { return []string{"logs", "registry", "images.json", "start.lock"} }

// Down removes the named cluster: processes, mounts, namespaces, control groups and its data. Logs and the registry's images stay;
// [Purge] removes those too. It is no error when the cluster does not run.
func Down(ctx context.Context, name string) error {
	dir, err := stateDir(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return remove(ctx, dir)
}

// Purge removes the named cluster with everything that is kept of it.
func Purge(ctx context.Context, name string) error {
	if err := Down(ctx, name); err != nil {
		return err
	}
	dir, err := stateDir(name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the folder of testbed %q: %w", name, err)
	}
	return nil
}

// remove ends what runs for the cluster in dir and deletes its data.
func remove(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	if err := endHolder(ctx, dir); err != nil {
		return err
	}
	if err := removeCgroup(ctx, clusterID(dir)); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing the cluster's folder: %w", err)
	}
	for _, entry := range entries {
		if slices.Contains(kept(), entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("deleting the cluster's data: %w", err)
		}
	}
	return nil
}

// endHolder ends the holding process and with it every process of the cluster. A sandbox is killed at once: the kernel ends all
// processes in it before it reports the end of the first. Without a sandbox the supervising process stops its children.
func endHolder(ctx context.Context, dir string) error {
	var h holder
	err := readJSON(filepath.Join(dir, holderFile), &h)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := readConfig(dir)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	signal := syscall.SIGKILL
	if c.Simulated {
		signal = syscall.SIGTERM
	}
	ticker := time.NewTicker(downPoll)
	defer ticker.Stop()
	sent := false
	for h.alive() {
		if !sent {
			if err := syscall.Kill(h.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("ending the cluster's process %d: %w", h.PID, err)
			}
			sent = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of process %d: %w", h.PID, ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}
