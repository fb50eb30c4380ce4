package main

import (
	"context"
	"errors"
	"sync"
)

// concurrency is how many requests are made at a time.
const concurrency = 8

// each does the same for all items, some at a time, and returns the results in the order of the items. Where one failed, its result is empty.
func each[T, R any](ctx context.Context, items []T, do func(context.Context, T) (R, error)) ([]R, error) {
	results := make([]R, len(items))
	failures := make([]error, len(items))
	var work sync.WaitGroup
	free := make(chan struct{}, concurrency)
	for i, item := range items {
		free <- struct{}{} // requests end with the context, so a place becomes free
		work.Go(func() {
			defer func() { <-free }()
			results[i], failures[i] = do(ctx, item)
		})
	}
	work.Wait()
	return results, errors.Join(failures...)
}
