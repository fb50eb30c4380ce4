package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
)

// nodeLimit is far above the size of a Node with a hundred images.
const nodeLimit = 1 << 20

// Ready returns nil when the API server, asked through read, calls the node ready; else the node's own words.
func Ready(ctx context.Context, read func(ctx context.Context, path string, limit int64) ([]byte, error)) error {
	data, err := read(ctx, "/api/v1/nodes/"+Name, nodeLimit)
	if err != nil {
		return err
	}
	var node corev1.Node
	if err := json.Unmarshal(data, &node); err != nil {
		return fmt.Errorf("parsing node: %w", err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("reading node: not ready: %s", c.Message)
	}
	return errors.New("reading node: it has not reported yet")
}

// answers returns nil when somebody listens on the socket.
func answers(ctx context.Context, socket string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// healthy returns nil when the URL answers 200.
func healthy(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %q: %s", url, response.Status)
	}
	return nil
}
