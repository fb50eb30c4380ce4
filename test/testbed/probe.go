package testbed

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// probeLimit bounds all probes of one call.
	probeLimit = 2 * time.Minute
	// probePoll is how often a target that fails is asked again.
	probePoll = 100 * time.Millisecond
	// probeTry bounds one question, so that a lost packet costs little.
	probeTry = 5 * time.Second
)

// Probe waits until every target answers: a host name has to resolve, a URL has to return 200. The testbed program calls it inside
// the cluster's namespaces and, as an image, in pods.
func Probe(ctx context.Context, targets ...string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	ticker := time.NewTicker(probePoll)
	defer ticker.Stop()
	for _, target := range targets {
		for {
			err := probe(ctx, target)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("probing %q: %w: %w", target, ctx.Err(), err)
			case <-ticker.C:
			}
		}
	}
	return nil
}

func probe(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTry)
	defer cancel()
	if !strings.Contains(target, "://") {
		_, err := net.DefaultResolver.LookupHost(ctx, target)
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %q: %s", target, response.Status)
	}
	return nil
}

// ProbeImage is an image whose arguments are targets of [Probe]; its process ends well when all of them answer.
func ProbeImage() Image {
	return Image{Repository: "testbed/probe", Tag: "1", Package: "./test/testbed/cmd/testbed"}
}
