package pki

import (
	"encoding/json"
	"fmt"
)

// Kubeconfig returns a kubeconfig (JSON, which is YAML too) that reaches server as the user of the client pair.
func Kubeconfig(server string, authority []byte, client Pair) ([]byte, error) {
	const name = "testbed"
	data, err := json.MarshalIndent(map[string]any{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": name,
		"clusters": []any{map[string]any{
			"name": name, "cluster": map[string]any{"server": server, "certificate-authority-data": authority},
		}},
		"users": []any{map[string]any{
			"name": name, "user": map[string]any{"client-certificate-data": client.Cert, "client-key-data": client.Key},
		}},
		"contexts": []any{map[string]any{
			"name": name, "context": map[string]any{"cluster": name, "user": name},
		}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding kubeconfig: %w", err)
	}
	return append(data, '\n'), nil
}
