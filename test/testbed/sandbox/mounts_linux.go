package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hidden folders are empty inside the sandbox: programs that insist on fixed places there write to memory of the sandbox.
func hidden() []string {
	return []string{"/run", "/var/lib", "/var/log"}
}

// kernelSettings are what the kubelet wants of the machine. They are not per namespace, so inside the sandbox the kubelet reads
// the values it wants from files and the machine keeps its own.
func kernelSettings() map[string]string {
	return map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0",
		"kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	}
}

// Mount arranges the file system of the sandbox that this process is in: nothing it does is seen outside. The folder keep stays
// visible wherever it is; scratch, inside keep, takes small files. Hosts and resolver replace /etc/hosts and /etc/resolv.conf.
func Mount(keep, scratch, hosts, resolver string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separating the mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := protectKernelSettings(scratch); err != nil {
		return err
	}
	for _, dir := range hidden() {
		if err := hide(dir, keep); err != nil {
			return fmt.Errorf("hiding %q: %w", dir, err)
		}
	}
	for name, content := range map[string]string{"hosts": hosts, "resolv.conf": resolver} {
		if err := replaceFile("/etc/"+name, filepath.Join(scratch, name), content); err != nil {
			return err
		}
	}
	// Containers get their volumes by mounts that have to show up in the kubelet's and containerd's view alike.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing the mounts: %w", err)
	}
	return nil
}

// protectKernelSettings makes /proc/sys read-only but for the network, which belongs to the sandbox.
func protectKernelSettings(scratch string) error {
	const settings, network = "/proc/sys", "/proc/sys/net"
	if err := unix.Mount(settings, settings, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("protecting kernel settings: %w", err)
	}
	for name, value := range kernelSettings() {
		file := filepath.Join(scratch, "sysctl-"+strings.ReplaceAll(name, "/", "."))
		err := replaceFile(filepath.Join(settings, name), file, value+"\n")
		if err != nil {
			return err
		}
	}
	if err := unix.Mount(network, network, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("protecting kernel settings: %w", err)
	}
	if err := unix.Mount("", settings, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("protecting kernel settings: %w", err)
	}
	return nil
}

// hide mounts an empty memory file system over dir and, when keep is inside it, makes keep visible again.
func hide(dir, keep string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil
	}
	inside := strings.HasPrefix(keep, dir+"/")
	var kept *os.File
	if inside {
		var err error
		if kept, err = os.Open(keep); err != nil {
			return err
		}
		defer kept.Close()
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	if !inside {
		return nil
	}
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return err
	}
	return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", kept.Fd()), keep, "", unix.MS_BIND|unix.MS_REC, "")
}

// replaceFile writes content to source and mounts it over target. A target that the machine does not have needs no replacement.
func replaceFile(target, source, content string) error {
	if err := os.WriteFile(source, []byte(content), 0o644); err != nil {
		return fmt.Errorf("replacing %q: %w", target, err)
	}
	resolved, err := os.Readlink(target)
	if err == nil && !filepath.IsAbs(resolved) {
		resolved = filepath.Join(filepath.Dir(target), resolved)
	}
	if err != nil {
		resolved = target
	}
	if _, err := os.Stat(resolved); errors.Is(err, fs.ErrNotExist) {
		return replaceMissing(target, resolved, content)
	}
	if err := unix.Mount(source, resolved, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("replacing %q: %w", target, err)
	}
	return nil
}

// replaceMissing fills the file that a link points at when that lies in a hidden folder, as with a resolver's generated file.
func replaceMissing(target, resolved, content string) error {
	for _, dir := range hidden() {
		if !strings.HasPrefix(resolved, dir+"/") {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(resolved), 0o755); err != nil {
			return fmt.Errorf("replacing %q: %w", target, err)
		}
		return os.WriteFile(resolved, []byte(content), 0o644)
	}
	return nil
}
