package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// processClock selects the scheduler's clock of all threads of a process, ended ones included: the kernel's MAKE_PROCESS_CPUCLOCK.
const processClock = 2

// cpuTime is exact to the scheduler's account, where /proc/<pid>/stat has steps of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|processClock), &spent); err != nil {
		return 0, err
	}
	return time.Duration(spent.Nano()), nil
}
