package main

import (
	"context"
	"fmt"
	"time"
)

// checkTimeout refuses what is no time to wait.
func checkTimeout(timeout time.Duration) error {
	if timeout <= 0 {
		return fmt.Errorf("--timeout: %s is no time to wait; write a duration such as 1m", timeout)
	}
	return nil
}

// inTime returns the one cause instead of the many errors of a time that is over.
func inTime(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
