package sandbox

import (
	"fmt"
	"os"
	"strings"
)

// startField is where the start time stands in /proc/PID/stat, counted behind the program's name, which may hold anything.
const startField = 19

// Identity returns what tells a process from a later one with the same number; it fails when there is none, or only what is left of one.
func Identity(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("looking for process %d: %w", pid, err)
	}
	return parseIdentity(string(data))
}

func parseIdentity(stat string) (string, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startField {
		return "", fmt.Errorf("parsing process state %q: too short", stat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("looking for a process: it has ended")
	}
	return fields[startField], nil
}
