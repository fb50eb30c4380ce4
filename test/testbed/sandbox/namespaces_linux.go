package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces: the network and the mounts make the node a machine of its own; the process namespace makes its end complete,
// because the kernel kills everything in it, left-over container shims included, when its first process ends.
const namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID

// Attributes makes a command start as the first process of a new sandbox, in a session of its own. The command must call [Init].
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Cloneflags: namespaces, Setsid: true}
}

// Permitted returns nil where sandboxes can be made, else the reason why not.
func Permitted() error {
	if os.Geteuid() != 0 {
		return errors.New("not running as root")
	}
	result := make(chan error)
	go func() {
		// The thread stays locked, so the runtime ends it together with its namespaces.
		runtime.LockOSThread()
		result <- unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS)
	}()
	if err := <-result; err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	return nil
}

// Init is the first process of a sandbox: it runs a command, hands SIGTERM and SIGINT on to it, reaps what is orphaned and returns the
// command's exit code. The files, numbered from 3 on in the command, are closed here.
func Init(path string, args []string, files []*os.File) (int, error) {
	stops := make(chan os.Signal, 4)
	signal.Notify(stops, syscall.SIGTERM, syscall.SIGINT)
	inherited := append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, files...)
	child, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{Env: os.Environ(), Files: inherited})
	if err != nil {
		return 0, fmt.Errorf("starting %q: %w", path, err)
	}
	for _, file := range files {
		file.Close()
	}
	go func() {
		for s := range stops {
			// When the command has ended, so has this process, or will at once.
			_ = child.Signal(s)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for processes: %w", err)
		case pid == child.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == child.Pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}

// Start starts a command inside the sandbox whose first process has the given pid; its working directory is the root there unless
// the command names one. Wait for it as for any other.
func Start(cmd *exec.Cmd, pid int) error {
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	result := make(chan error)
	go func() {
		// Never unlocked: a thread inside the sandbox must not run anything else afterwards.
		runtime.LockOSThread()
		result <- startInside(cmd, pid)
	}()
	return <-result
}

func startInside(cmd *exec.Cmd, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("entering the sandbox of process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// The kernel refuses another mount namespace to a thread that shares its root and working directory with others.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("entering the sandbox of process %d: %w", pid, err)
	}
	if err := unix.Setns(fd, namespaces); err != nil {
		return fmt.Errorf("entering the sandbox of process %d: %w", pid, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %q in the sandbox: %w", cmd.Path, err)
	}
	return nil
}

// Run runs a command inside a sandbox with this process's own streams, hands signals on to it and returns its exit code.
func Run(ctx context.Context, cmd *exec.Cmd, pid int) (int, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := Start(cmd, pid); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	// Too late to kill is no failure: the exit code says it all.
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	for {
		select {
		case s := <-signals:
			forward(cmd, s)
		case err := <-done:
			return exitCode(cmd, err)
		}
	}
}

// forward sends a signal on, except what a terminal has sent to the whole foreground group already.
func forward(cmd *exec.Cmd, s os.Signal) {
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err == nil && s != syscall.SIGTERM && s != syscall.SIGHUP {
		return
	}
	// Too late is no failure: the exit code says it all.
	_ = cmd.Process.Signal(s)
}

func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("running %q: %w", cmd.Path, err)
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
